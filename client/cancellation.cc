#include "client/cancellation.h"

#include "client/cancellation_impl.h"

namespace ela::client {

Cancellation::Cancellation() : impl_(std::make_unique<Impl>()) {}
Cancellation::~Cancellation() = default;

void Cancellation::Cancel() { impl_->Cancel(); }
bool Cancellation::cancelled() const { return impl_->cancelled(); }

}  // namespace ela::client
