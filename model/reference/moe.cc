#include "model/reference/moe.h"

namespace ela::reference {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Which row of the sorted tokens holds which choice: `order` lists choices (token·K + rank) by
// expert, and `place` is its inverse. Both directions are gathers; autograd's own backward would be
// a scatter.
struct Route {
  at::Tensor order, place;      // [N·K]
  std::vector<int64_t> counts;  // choices of each expert
};

Route SortByExpert(const at::Tensor& chosen, int64_t num_experts) {
  Route route;
  const at::Tensor flat = chosen.flatten();
  route.order = at::argsort(flat, /*stable=*/true, /*dim=*/0, /*descending=*/false);
  route.place = at::empty_like(route.order);
  route.place.index_copy_(0, route.order, at::arange(flat.numel()));
  const at::Tensor counts = at::bincount(flat, {}, num_experts);
  route.counts.assign(counts.const_data_ptr<int64_t>(),
                      counts.const_data_ptr<int64_t>() + num_experts);
  return route;
}

// x: [N, d] -> [N·K, d], one row per choice, sorted by expert.
struct Dispatch : torch::autograd::Function<Dispatch> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& order,
                            const at::Tensor& place, int64_t k) {
    context->saved_data["k"] = k;
    context->save_for_backward({place});
    return x.index_select(0, order.div(k, "floor"));
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor place = context->get_saved_variables()[0];
    const int64_t k = context->saved_data["k"].toInt();
    const at::Tensor back = gradients[0].index_select(0, place);
    return {back.view({-1, k, back.size(1)}).sum(1), {}, {}, {}};
  }
};

// y: [N·K, d], sorted by expert -> [N, K, d], by token and rank.
struct Collect : torch::autograd::Function<Collect> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& y, const at::Tensor& order,
                            const at::Tensor& place, int64_t k) {
    context->save_for_backward({order});
    return y.index_select(0, place).view({-1, k, y.size(1)});
  }
  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const at::Tensor order = context->get_saved_variables()[0];
    return {gradients[0].flatten(0, 1).index_select(0, order), {}, {}, {}};
  }
};

at::Tensor Expert(const ExpertWeights& expert, const at::Tensor& x, Precision precision) {
  const std::vector<at::Tensor> halves = Linear(x, expert.linear, precision).chunk(2, -1);
  return Linear(at::silu(halves[0]) * halves[1], expert.out_proj, precision);
}

}  // namespace

MoeOutput Moe(const LanguageConfig& config, const MoeWeights& weights, const at::Tensor& a,
              Precision precision) {
  const int64_t k = config.num_experts_per_tok, num_experts = config.num_experts;
  const at::Tensor p = at::softmax(at::linear(a, weights.gate, weights.gate_bias), -1);  // [N, E]
  const at::Tensor chosen =
      std::get<1>(at::sort(p.detach(), /*stable=*/true, /*dim=*/-1, /*descending=*/true))
          .narrow(1, 0, k)
          .contiguous();
  const at::Tensor selected = p.gather(1, chosen);
  const at::Tensor share = selected / (selected.sum(-1, true) + 1e-8);  // S, [N, K]

  const Route route = SortByExpert(chosen, num_experts);
  const at::Tensor x = precision == Precision::kBFloat16 ? a.to(at::kBFloat16) : a;
  const std::vector<at::Tensor> sorted =
      Dispatch::apply(x, route.order, route.place, k).split_with_sizes(route.counts, 0);
  std::vector<at::Tensor> outputs;
  for (int64_t e = 0; e < num_experts; ++e) {
    if (route.counts[e] > 0) outputs.push_back(Expert(weights.experts[e], sorted[e], precision));
  }
  const at::Tensor collected = Collect::apply(at::cat(outputs, 0), route.order, route.place, k);
  at::Tensor flow = (collected.to(a.scalar_type()) * share.unsqueeze(-1)).sum(1);
  if (config.moe_residual) flow = flow + a;

  const at::Tensor chosen_once = at::zeros_like(p).scatter(1, chosen, 1.0);  // [N, E] of 0 and 1
  if (config.moe_bias == MoeBias::kOuter) flow = flow + at::matmul(chosen_once, weights.gate);
  if (config.moe_bias == MoeBias::kInner) {
    flow = flow + at::matmul(at::zeros_like(p).scatter(1, chosen, share), weights.gate);
  }
  const at::Tensor shares = chosen_once.mean(0) / k;
  return {flow, num_experts * (shares * p.mean(0)).sum()};
}

}  // namespace ela::reference
