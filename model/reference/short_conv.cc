#include "model/reference/short_conv.h"

namespace ela::reference {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The slice of `x` whose row t is x_{t−delay}: rows [delay, L) of the result come from rows [0,
// L−delay).
at::Tensor Earlier(const at::Tensor& x, int64_t delay) { return x.narrow(1, 0, x.size(1) - delay); }
at::Tensor Later(const at::Tensor& x, int64_t delay) {
  return x.narrow(1, delay, x.size(1) - delay);
}

// Written as one function because autograd would keep W copies of x and sum them again backwards.
struct ShortConvFunction : torch::autograd::Function<ShortConvFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const at::Tensor& weight) {
    const int64_t taps = weight.size(1);
    const at::Tensor tap = weight.t().contiguous();  // [W, channels]: rows that vectorise
    context->save_for_backward({x, tap});
    at::Tensor y = x * tap[taps - 1];
    for (int64_t delay = 1; delay < std::min(taps, x.size(1)); ++delay) {
      Later(y, delay).addcmul_(Earlier(x, delay), tap[taps - 1 - delay]);
    }
    return y;
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &tap = saved[1], &dy = gradients[0];
    const int64_t taps = tap.size(0);
    at::Tensor dx = dy * tap[taps - 1];
    at::Tensor dtap = at::zeros_like(tap);
    dtap[taps - 1].copy_((dy * x).sum(at::IntArrayRef{0, 1}));
    for (int64_t delay = 1; delay < std::min(taps, x.size(1)); ++delay) {
      const int64_t j = taps - 1 - delay;
      Earlier(dx, delay).addcmul_(Later(dy, delay), tap[j]);
      dtap[j].copy_((Later(dy, delay) * Earlier(x, delay)).sum(at::IntArrayRef{0, 1}));
    }
    return {dx, dtap.t()};
  }
};

}  // namespace

at::Tensor ShortConv(const at::Tensor& x, const at::Tensor& weight) {
  return ShortConvFunction::apply(x, weight);
}

}  // namespace ela::reference
