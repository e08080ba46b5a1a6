#include "scheduler/admission.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace ela {
namespace {

Admission Make(std::vector<TenantOptions> tenants = {}) {
  auto admission = Admission::Create(tenants);
  EXPECT_TRUE(admission.ok());
  return *std::move(admission);
}

Admission::Entry Waiting(uint64_t ticket, int32_t tenant = 0, int32_t priority = 0,
                         int64_t seconds = 0, int64_t tokens = 10) {
  return {ticket, tenant, priority, absl::FromUnixSeconds(1000 + seconds), tokens};
}

TEST(AdmissionTest, NobodyWaits) { EXPECT_FALSE(Make().Take().has_value()); }

TEST(AdmissionTest, FirstComeFirstServedAmongEquals) {
  Admission admission = Make();
  admission.Add(Waiting(7, 0, 0, 2));
  admission.Add(Waiting(8, 0, 0, 1));
  admission.Add(Waiting(9, 0, 0, 2));
  EXPECT_EQ(admission.Take(), 8u);
  EXPECT_EQ(admission.Take(), 7u);
  EXPECT_EQ(admission.Take(), 9u);
  EXPECT_EQ(admission.num_waiting(), 0);
}

TEST(AdmissionTest, HigherPriorityGoesFirst) {
  Admission admission = Make();
  admission.Add(Waiting(1, 0, -5));
  admission.Add(Waiting(2, 0, 5));
  admission.Add(Waiting(3, 0, 0));
  EXPECT_EQ(admission.Take(), 2u);
  EXPECT_EQ(admission.Take(), 3u);
  EXPECT_EQ(admission.Take(), 1u);
}

TEST(AdmissionTest, OneLevelOfPriorityIsWorthOneSecondOfWaiting) {
  Admission admission = Make();
  admission.Add(Waiting(1, 0, 0, 0));
  admission.Add(Waiting(2, 0, 10, 9));   // passes the first
  admission.Add(Waiting(3, 0, 10, 11));  // does not
  EXPECT_EQ(admission.Take(), 2u);
  EXPECT_EQ(admission.Take(), 1u);
  EXPECT_EQ(admission.Take(), 3u);
}

TEST(AdmissionTest, LowPriorityIsServedWithin200SecondsOfAFlood) {
  Admission admission = Make();
  admission.Add(Waiting(1, 0, -100, 0));
  uint64_t ticket = 2;
  for (int64_t second = 0; second < 300; ++second) {
    admission.Add(Waiting(ticket++, 0, 100, second));
    if (admission.Take() == 1u) {
      EXPECT_LE(second, 201);
      return;
    }
  }
  FAIL() << "starved";
}

TEST(AdmissionTest, RemovedRequestIsNeverTaken) {
  Admission admission = Make();
  admission.Add(Waiting(1));
  admission.Add(Waiting(2));
  admission.Remove(Waiting(1));
  EXPECT_EQ(admission.Take(), 2u);
  EXPECT_FALSE(admission.Take().has_value());
}

TEST(AdmissionTest, UnknownTenantsShareTheAnonymousOne) {
  const Admission admission = Make({{"a", 1}, {"b", 2}, {"", 3}});
  EXPECT_EQ(admission.TenantOf("a"), 1);
  EXPECT_EQ(admission.TenantOf("b"), 2);
  EXPECT_EQ(admission.TenantOf(""), 0);
  EXPECT_EQ(admission.TenantOf("zebra"), 0);
}

TEST(AdmissionTest, WeightsMustBePositiveAndNamesOnce) {
  EXPECT_FALSE(Admission::Create({{"a", 0}}).ok());
  EXPECT_FALSE(Admission::Create({{"a", -1}}).ok());
  EXPECT_FALSE(Admission::Create({{"a", NAN}}).ok());
  EXPECT_FALSE(Admission::Create({{"a", INFINITY}}).ok());
  EXPECT_FALSE(Admission::Create({{"a", 1}, {"a", 1}}).ok());
}

// Both tenants always have something waiting; the first floods with a hundred times as much.
TEST(AdmissionTest, FloodingTenantKeepsToItsShareOfTokens) {
  std::mt19937 random(4);
  Admission admission = Make({{"floods", 1}, {"modest", 3}});
  std::array<int64_t, 3> tokens{};
  std::vector<Admission::Entry> entries;
  const auto add = [&](int32_t tenant) {
    entries.push_back(Waiting(entries.size(), tenant, 0, 0, 1 + random() % 200));
    admission.Add(entries.back());
  };
  for (int i = 0; i < 1000; ++i) add(1);
  for (int i = 0; i < 10; ++i) add(2);
  for (int i = 0; i < 5000; ++i) {
    const Admission::Entry taken = entries[*admission.Take()];
    const int64_t generated = random() % 300;
    tokens[taken.tenant] += taken.prompt_tokens + generated;
    admission.Charge(taken.tenant, generated);
    add(taken.tenant);
  }
  const double share = static_cast<double>(tokens[2]) / static_cast<double>(tokens[1]);
  EXPECT_NEAR(share, 3, 3 * 0.05);
}

TEST(AdmissionTest, IdleTenantSavesUpNoCredit) {
  Admission admission = Make({{"busy", 1}, {"idle", 1}});
  uint64_t ticket = 0;
  for (int i = 0; i < 1000; ++i) {
    admission.Add(Waiting(ticket++, 1));
    admission.Take();
  }
  // Now both wait: they alternate, the idle one does not get a thousand turns in a row.
  const uint64_t first = ticket;
  for (int i = 0; i < 100; ++i) admission.Add(Waiting(ticket++, 1));
  for (int i = 0; i < 100; ++i) admission.Add(Waiting(ticket++, 2));
  int busy = 0;
  for (int i = 0; i < 100; ++i) busy += *admission.Take() < first + 100;
  EXPECT_NEAR(busy, 50, 1);
}

}  // namespace
}  // namespace ela
