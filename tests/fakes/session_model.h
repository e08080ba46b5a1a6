#ifndef ELA_TESTS_FAKES_SESSION_MODEL_H_
#define ELA_TESTS_FAKES_SESSION_MODEL_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "model/types.h"
#include "scheduler/request.h"
#include "tests/fakes/engine_rig.h"

namespace ela {

// What a session is to its owner, and nothing else: tokens with their cuts. Tests compare what the
// engine makes of sessions with what a request with the whole past as its prompt must yield.
struct SessionModel {
  SessionId id;
  std::string tenant;
  std::vector<TokenId> tokens;
  std::vector<Segment> segments;
  std::map<std::string, int64_t> checkpoints;

  int64_t size() const { return static_cast<int64_t>(tokens.size()); }

  void AppendPrompt(const std::vector<TokenId>& prompt) {
    if (prompt.empty()) return;
    segments.push_back({SegmentKind::kPrompt, size(), static_cast<int64_t>(prompt.size()), 0});
    tokens.insert(tokens.end(), prompt.begin(), prompt.end());
  }

  void AppendGenerated(const std::vector<TokenId>& text) {
    for (const TokenId token : text) {
      if (segments.empty() || segments.back().kind != SegmentKind::kGenerated) {
        segments.push_back({SegmentKind::kGenerated, size(), 0, 0});
      }
      ++segments.back().length;
      tokens.push_back(token);
    }
  }

  void Truncate(int64_t position) {
    tokens.resize(position);
    while (!segments.empty() && segments.back().begin >= position) segments.pop_back();
    if (!segments.empty()) {
      segments.back().length = std::min(segments.back().length, position - segments.back().begin);
    }
    for (auto it = checkpoints.begin(); it != checkpoints.end();) {
      it = it->second > position ? checkpoints.erase(it) : std::next(it);
    }
  }

  // A request of the same words without a session, for FakeWorker::Expected.
  Request Whole(const Request& request) const {
    SessionModel after = *this;
    after.AppendPrompt(request.tokens);
    Request whole;
    whole.tokens = after.tokens;
    for (const Segment& segment : after.segments) {
      whole.segment_lengths.push_back(segment.length);
      whole.segment_kinds.push_back(segment.kind);
    }
    whole.lobe = request.lobe;
    whole.max_new_tokens = request.max_new_tokens;
    whole.sampling = request.sampling;
    whole.penalty_window = request.penalty_window;
    whole.choice = request.choice;
    whole.stop_tokens = request.stop_tokens;
    whole.ignore_eos = request.ignore_eos;
    return whole;
  }

  // A place that a prefix lobe allows: not inside a prompt segment.
  bool CanStandAt(int64_t position) const {
    for (const Segment& segment : segments) {
      if (segment.kind == SegmentKind::kPrompt && segment.begin < position &&
          position < segment.begin + segment.length) {
        return false;
      }
    }
    return true;
  }
};

}  // namespace ela

#endif  // ELA_TESTS_FAKES_SESSION_MODEL_H_
