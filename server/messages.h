// Domain values to messages, shared by the streams.
#ifndef ELA_SERVER_MESSAGES_H_
#define ELA_SERVER_MESSAGES_H_

#include "absl/types/span.h"
#include "ela/v1/generation.pb.h"
#include "scheduler/request.h"
#include "server/model_card.h"
#include "server/outbox.h"

namespace ela {

void SetUsage(const Usage& usage, v1::Usage* message);

// Appends row `row` of `rows` to the message's repeated field.
void AddTop(const OutboxRows& rows, size_t row,
            google::protobuf::RepeatedPtrField<v1::TopLogprobs>* field);
void AddRouting(const OutboxRows& rows, size_t row,
                google::protobuf::RepeatedPtrField<v1::TokenRouting>* field);

// Scores in pieces that fit any client's message limit (4 MB by default).
class ScorePieces {
 public:
  // `tokens` are those of the request; `shift` is 1 where an end-of-text that the caller did not
  // count stands in front of them. Borrows `tokens`.
  ScorePieces(const std::vector<TokenId>& tokens, int64_t shift) : tokens_(tokens), shift_(shift) {}

  // Moves the next piece of `rows` into `message`; false when nothing is left: `rows` is empty.
  bool Next(OutboxRows* rows, v1::Scores* message);

 private:
  const std::vector<TokenId>& tokens_;
  const int64_t shift_;
  size_t used_ = 0;  // rows of `rows`
};

}  // namespace ela

#endif  // ELA_SERVER_MESSAGES_H_
