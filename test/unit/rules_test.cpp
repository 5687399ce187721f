// Tests of core/rules: which rules match a session, which one decides, and when that matters.
#include "core/rules.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <memory>

#include "samples.hpp"

namespace pgleak {
namespace {

constexpr WallTime kNow = wall_at(840'000'000 * kSecond);
constexpr std::uint32_t kAlice = 16384;
constexpr std::uint32_t kBob = 16385;

// Rules as a test writes them down.
class RulesTest : public testing::Test {
 protected:
  // A rule that matches everything and sets nothing, for the test to change.
  Rule& add() {
    Rule& rule = set_->rules[set_->count++];
    rule.limits.id = set_->count;
    rule.limits.limits = nothing_set();
    rule.valid_until = kEndOfTime;
    return rule;
  }
  Rule& add_leak_after(Micros limit, Impact least = Impact::kNone) {
    Rule& rule = add();
    rule.limits.limits = with(nothing_set(), Clock::kIdle, LimitKind::kLeak, limit);
    rule.min_impact = least;
    return rule;
  }

  Match match(WallTime now = kNow) const { return match_rules(*set_, facts_, now); }
  // The numbers of the rules that match, from 1, as "1 3 ".
  std::string matching(WallTime now = kNow) const {
    std::string text;
    const RuleBits bits = match(now).rules;
    for (int i = bits.next(0); i < kMaxRules; i = bits.next(i + 1)) text += std::to_string(i + 1) + " ";
    return text;
  }
  Limits choose(Impact impact = Impact::kNone) const {
    return choose_limits(*set_, match().rules, own_, server_, impact);
  }
  // The limit on the idle clock that makes the session a leak, and its source.
  std::string leak_limit(Impact impact = Impact::kNone) const {
    const Limits limits = choose(impact);
    return std::to_string(limits.value[0] / kSecond) + "s " +
           name_of(limits.leak_source(Clock::kIdle), limits.rule_id).text;
  }

  std::unique_ptr<RuleSet> set_ = std::make_unique<RuleSet>();
  SessionFacts facts_{"shop", kAlice, "shop-api", Network{}};
  LimitValues own_ = nothing_set();
  LimitValues server_ = with(all_off(), Clock::kIdle, LimitKind::kLeak, 60 * kSecond);
};

void name(char* target, const char* value) { std::strcpy(target, value); }

TEST(RuleBitsTest, NextFindsEachOfThem) {
  for (const int rule : {0, 1, 63, 64, 127, 128, 200, 255}) {
    RuleBits bits{};
    EXPECT_EQ(bits.next(0), kMaxRules);
    bits.add(rule);
    EXPECT_TRUE(bits.has(rule));
    EXPECT_FALSE(bits.has((rule + 1) % kMaxRules));
    EXPECT_EQ(bits.next(0), rule);
    EXPECT_EQ(bits.next(rule), rule);
    EXPECT_EQ(bits.next(rule + 1), kMaxRules);
  }
}

TEST_F(RulesTest, WithoutRulesTheServerDecides) {
  EXPECT_EQ(matching(), "");
  EXPECT_EQ(leak_limit(), "60s server");
}

TEST_F(RulesTest, ARuleThatSaysNothingOfASessionMatchesEverySession) {
  add();
  EXPECT_EQ(matching(), "1 ");
  facts_ = SessionFacts{"", 0, "", Network{}};
  EXPECT_EQ(matching(), "1 ");
}

TEST_F(RulesTest, TheDatabaseIsComparedByName) {
  name(add().database, "shop");
  EXPECT_EQ(matching(), "1 ");
  for (const char* other : {"Shop", "sho", "shop2", ""}) {
    facts_.database = other;
    EXPECT_EQ(matching(), "") << other;
  }
}

TEST_F(RulesTest, TheApplicationIsComparedByLike) {
  name(add().application_name, "shop-%");
  EXPECT_EQ(matching(), "1 ");
  facts_.application_name = "shop";
  EXPECT_EQ(matching(), "");
}

TEST_F(RulesTest, TheAddressMustLieInTheNetwork) {
  const unsigned char ten[] = {10, 0, 0, 0};
  const unsigned char eleven[] = {11, 0, 0, 1};
  add().client = make_network(Network::Family::kIpv4, ten, 8);
  EXPECT_EQ(matching(), "") << "a unix socket";
  facts_.client = make_network(Network::Family::kIpv4, ten, 32);
  EXPECT_EQ(matching(), "1 ");
  facts_.client = make_network(Network::Family::kIpv4, eleven, 32);
  EXPECT_EQ(matching(), "");
}

TEST_F(RulesTest, TheRoleMustBeAMember) {
  add().names_role = true;
  add().names_role = true;
  RuleBits second{};
  second.add(1);
  EXPECT_EQ(matching(), "") << "a role that does not exist has no members";
  ASSERT_TRUE(add_role(set_.get(), kAlice, second));
  EXPECT_EQ(matching(), "2 ");
  facts_.role_oid = kBob;
  EXPECT_EQ(matching(), "");
}

TEST_F(RulesTest, EveryRoleOfALargeTableIsFound) {
  add().names_role = true;
  RuleBits first{};
  first.add(0);
  for (std::uint32_t i = 0; i < static_cast<std::uint32_t>(kMaxRoles); i++)
    ASSERT_TRUE(add_role(set_.get(), kAlice + 2 * i, first));
  EXPECT_FALSE(add_role(set_.get(), UINT32_MAX, first)) << "there is no room for more";
  for (std::uint32_t i = 0; i < 2 * static_cast<std::uint32_t>(kMaxRoles); i++) {
    facts_.role_oid = kAlice + i;
    ASSERT_EQ(matching(), i % 2 == 0 ? "1 " : "") << i;
  }
  facts_.role_oid = 10;
  EXPECT_EQ(matching(), "");
  facts_.role_oid = UINT32_MAX;
  EXPECT_EQ(matching(), "");
}

TEST_F(RulesTest, AllThatARuleSaysMustHold) {
  Rule& rule = add();
  name(rule.database, "shop");
  name(rule.application_name, "other");
  EXPECT_EQ(matching(), "");
  name(rule.application_name, "shop-api");
  EXPECT_EQ(matching(), "1 ");
}

TEST_F(RulesTest, TheFirstThatMatchesDecidesAlone) {
  name(add_leak_after(kSecond).database, "other");
  add_leak_after(2 * kSecond);
  add_leak_after(3 * kSecond);
  EXPECT_EQ(matching(), "2 ");
  EXPECT_EQ(leak_limit(), "2s rule 2");
}

TEST_F(RulesTest, WhatTheDecidingRuleDoesNotSayTheServerSaysAndNoLaterRule) {
  add().limits.limits = with(nothing_set(), Clock::kIdle, LimitKind::kCancel, kHour);
  add_leak_after(3 * kSecond);
  EXPECT_EQ(leak_limit(), "60s server");
  EXPECT_EQ(choose().value[limit_index(Clock::kIdle, LimitKind::kCancel)], kHour);
  EXPECT_EQ(choose().source[limit_index(Clock::kIdle, LimitKind::kCancel)], LimitSource::kRule);
}

TEST_F(RulesTest, ARuleMaySayNever) {
  add_leak_after(kNever);
  EXPECT_EQ(leak_limit(), "0s rule 1");
}

TEST_F(RulesTest, TheSessionsOwnValueWins) {
  add_leak_after(2 * kSecond);
  own_ = with(own_, Clock::kIdle, LimitKind::kLeak, kMinute);
  EXPECT_EQ(leak_limit(), "60s session");
}

TEST_F(RulesTest, ARuleEndsWhenItIsNoLongerValid) {
  add_leak_after(kNever).valid_until = kNow + kSecond;
  add_leak_after(2 * kSecond);
  EXPECT_EQ(matching(), "1 ");
  EXPECT_EQ(match().valid_until, kNow + kSecond) << "and the answer says how long it holds";
  EXPECT_EQ(matching(kNow + kSecond - 1_us), "1 ");
  EXPECT_EQ(matching(kNow + kSecond), "2 ");
  EXPECT_EQ(match(kNow + kSecond).valid_until, kEndOfTime);
  EXPECT_EQ(match().valid_from, kNow) << "the wall clock may be set back";
}

TEST_F(RulesTest, ARuleThatDoesNotMatchLimitsNoAnswer) {
  Rule& other = add();
  other.valid_until = kNow + kSecond;
  name(other.database, "other");
  EXPECT_EQ(match().valid_until, kEndOfTime);
}

TEST_F(RulesTest, RulesThatNeedAnImpactAreAlternatives) {
  add_leak_after(5 * kSecond, Impact::kBlocking);
  add_leak_after(20 * kSecond, Impact::kLocks);
  add_leak_after(30 * kSecond);
  add_leak_after(1 * kSecond);
  EXPECT_EQ(matching(), "1 2 3 ");
  EXPECT_TRUE(depends_on_impact(*set_, match().rules));
  EXPECT_EQ(leak_limit(Impact::kBlocking), "5s rule 1");
  EXPECT_EQ(leak_limit(Impact::kHorizon), "20s rule 2");
  EXPECT_EQ(leak_limit(Impact::kLocks), "20s rule 2");
  EXPECT_EQ(leak_limit(Impact::kNone), "30s rule 3");
}

TEST_F(RulesTest, IfNoneDecidesTheServerDoes) {
  add_leak_after(5 * kSecond, Impact::kBlocking);
  EXPECT_EQ(leak_limit(Impact::kBlocking), "5s rule 1");
  EXPECT_EQ(leak_limit(Impact::kHorizon), "60s server");
}

TEST_F(RulesTest, TheImpactDoesNotMatterIfTheFirstRuleAsksForNone) {
  EXPECT_FALSE(depends_on_impact(*set_, match().rules));
  add_leak_after(30 * kSecond);
  add_leak_after(5 * kSecond, Impact::kBlocking);
  EXPECT_FALSE(depends_on_impact(*set_, match().rules));
}

struct MatterCase {
  const char* meaning;
  std::optional<Micros> idle;
  bool may_be_leak;
  Micros next_due_in;
};

TEST_F(RulesTest, WhetherTheImpactIsWorthReading) {
  add_leak_after(5 * kSecond, Impact::kBlocking);
  const MatterCase cases[] = {
      {"long before any limit", 1 * kSecond, false, 4 * kSecond},
      {"at the limit of the rule", 5 * kSecond, true, 55 * kSecond},
      {"past it: only another impact can change anything now", 50 * kSecond, true, 10 * kSecond},
      {"past the server's limit too", 70 * kSecond, true, kForever},
      {"not idle", std::nullopt, false, kForever},
  };
  for (const MatterCase& c : cases) {
    SCOPED_TRACE(c.meaning);
    Micros next_due_in = kForever;
    const Ages ages{c.idle, std::nullopt, std::nullopt};
    EXPECT_EQ(may_be_leak(*set_, match().rules, own_, server_, ages, &next_due_in), c.may_be_leak);
    EXPECT_EQ(next_due_in, c.next_due_in);
  }
}

TEST_F(RulesTest, AShorterWaitOfTheCallersStays) {
  add_leak_after(5 * kSecond, Impact::kBlocking);
  Micros next_due_in = kSecond;
  const Ages ages{2 * kSecond, std::nullopt, std::nullopt};
  may_be_leak(*set_, match().rules, own_, server_, ages, &next_due_in);
  EXPECT_EQ(next_due_in, kSecond);
}

TEST_F(RulesTest, ASessionWithLimitsOfItsOwnIsNoLeakUnderAnyRule) {
  add_leak_after(5 * kSecond, Impact::kBlocking);
  own_ = with(own_, Clock::kIdle, LimitKind::kLeak, kNever);
  Micros next_due_in = kForever;
  const Ages ages{kHour, std::nullopt, std::nullopt};
  EXPECT_FALSE(may_be_leak(*set_, match().rules, own_, server_, ages, &next_due_in));
}

TEST_F(RulesTest, TheLastOfAllRulesCounts) {
  for (int i = 0; i < kMaxRules; i++) name(add_leak_after((i + 1) * kSecond).database, "other");
  name(set_->rules[kMaxRules - 1].database, "shop");
  EXPECT_EQ(leak_limit(), "256s rule 256");
}

TEST_F(RulesTest, SetsAreComparedByWhatTheyHold) {
  const auto other = std::make_unique<RuleSet>();
  EXPECT_TRUE(have_same_rules(*set_, *other));
  add_leak_after(2 * kSecond);
  EXPECT_FALSE(have_same_rules(*set_, *other));
  *other = *set_;
  EXPECT_TRUE(have_same_rules(*set_, *other));
  set_->rules[0].valid_until = kNow;
  EXPECT_FALSE(have_same_rules(*set_, *other));

  RuleBits first{};
  first.add(0);
  EXPECT_TRUE(have_same_roles(*set_, *other));
  add_role(set_.get(), kAlice, first);
  EXPECT_FALSE(have_same_roles(*set_, *other));
  add_role(other.get(), kBob, first);
  EXPECT_FALSE(have_same_roles(*set_, *other));
  other->roles[0] = kAlice;
  EXPECT_TRUE(have_same_roles(*set_, *other));
  other->satisfied_by[0].add(255);
  EXPECT_FALSE(have_same_roles(*set_, *other));
}

TEST_F(RulesTest, GarbageInTheCountsHarmsNobody) {
  add_leak_after(2 * kSecond);
  set_->count = INT32_MAX;
  set_->role_count = INT32_MAX;
  EXPECT_EQ(leak_limit(), "2s rule 1");
  set_->count = -1;
  set_->role_count = -1;
  EXPECT_EQ(leak_limit(), "60s server");
}

}  // namespace
}  // namespace pgleak
