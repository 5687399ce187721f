// A simulated pool of connections: requests arrive at random, one sample is taken per second; and the habits
// of the pools that people use. For the tests of core/suspects and core/silence.
#ifndef PGLEAK_TEST_UNIT_SIMULATED_POOL_HPP
#define PGLEAK_TEST_UNIT_SIMULATED_POOL_HPP

#include <algorithm>
#include <deque>
#include <list>
#include <random>
#include <vector>

#include "core/silence.hpp"
#include "core/suspects.hpp"
#include "samples.hpp"

namespace pgleak {

inline constexpr Micros kStep = 100 * kMillisecond;
inline constexpr Micros kSuspectAfter = kMinute;
inline constexpr MonotonicTime kNeverEnds{INT64_MAX};

inline Micros scaled(Micros duration, double factor) {
  return Micros{static_cast<std::int64_t>(static_cast<double>(duration.us) * factor)};
}

struct Connection {
  MonotonicTime busy_until{};
  MonotonicTime quiet_until{};  // until then checked out and idle outside a transaction
  bool is_out = false;
  bool has_run = true;  // since the last sample
  MonotonicTime expires_on = kNeverEnds;
  MonotonicTime returned_on{};
  SessionActivity activity{};
};

// What a pool does by itself, besides lending connections.
struct Habits {
  bool is_lifo = false;
  int most = 20;
  int spares = 0;            // opens connections until this many are free
  bool starts_full = false;  // opens `most` at its start
  int keeps = 20;            // closes returned connections beyond this number (SQLAlchemy's overflow)
  Micros lifetime{0};        // replaces connections of that age
  bool opens_before_closing = false;
  Micros idle_timeout{0};  // closes connections that were free this long
  bool resets_on_return = false;
};

class Play {
 public:
  Play(Habits habits, unsigned seed) : habits_(habits), random_(seed) {}

  // For `duration`, requests arrive at `per_second` and last `busy`, both on average.
  void run(Micros duration, double per_second, Micros busy, Micros quiet = 0_us) {
    for (Micros passed{0}; passed < duration; passed += kStep) {
      time_.pass(kStep);
      give_back();
      keep_house();
      std::poisson_distribution<int> arrivals(per_second / static_cast<double>(kSecond / kStep));
      for (int n = arrivals(random_); n > 0; n--) lend(busy, quiet);
      if (time_.monotonic() >= look_on_) look();
    }
  }

  // Takes a connection, runs a statement outside a transaction, and forgets the connection.
  // nullptr: none is free.
  Connection* forget_one() {
    Connection* taken = check_out();
    if (taken == nullptr) return nullptr;
    taken->busy_until = time_.monotonic() + kStep;
    taken->quiet_until = kNeverEnds;
    return taken;
  }

  void close(Connection* which) {
    connections_.remove_if([which](const Connection& c) { return &c == which; });
  }

  bool has_fallen_silent() const { return pool_.silence.has_fallen_silent; }
  int silent_samples() const { return silent_samples_; }
  int suspects() const { return suspects_; }
  int most_suspects() const { return most_suspects_; }
  std::size_t size() const { return connections_.size(); }
  FakeTime time_;
  PoolActivity pool_{};
  Micros suspect_after_ = kSuspectAfter;

 private:
  Connection* open() {
    connections_.emplace_back();
    Connection* fresh = &connections_.back();
    fresh->returned_on = time_.monotonic();
    if (habits_.lifetime > 0_us) {
      std::uniform_real_distribution<double> jitter(0.9, 1.0);
      fresh->expires_on = time_.monotonic() + scaled(habits_.lifetime, jitter(random_));
    }
    return fresh;
  }

  Connection* check_out() {
    Connection* taken;
    if (!free_.empty()) {
      taken = habits_.is_lifo ? free_.back() : free_.front();
      habits_.is_lifo ? free_.pop_back() : free_.pop_front();
    } else {
      if (static_cast<int>(connections_.size()) >= habits_.most) return nullptr;
      taken = open();
    }
    taken->is_out = true;
    taken->has_run = true;
    transactions_++;
    return taken;
  }

  void lend(Micros busy, Micros quiet) {
    Connection* taken = check_out();
    if (taken == nullptr) return;  // the request waits elsewhere
    std::exponential_distribution<double> length(1.0);
    taken->busy_until = time_.monotonic() + scaled(busy, length(random_));
    taken->quiet_until = taken->busy_until;
    if (quiet > 0_us) {
      std::uniform_real_distribution<double> pause(0.0, 1.0);
      taken->quiet_until += scaled(quiet, pause(random_));
    }
  }

  void give_back() {
    for (auto c = connections_.begin(); c != connections_.end();) {
      Connection* connection = &*c++;
      if (!connection->is_out || connection->quiet_until > time_.monotonic()) continue;
      connection->is_out = false;
      connection->returned_on = time_.monotonic();
      if (habits_.resets_on_return) connection->has_run = true;
      const bool is_surplus = static_cast<int>(free_.size()) >= habits_.keeps;
      if (is_surplus || connection->expires_on <= time_.monotonic())
        close(connection);
      else
        free_.push_back(connection);
    }
  }

  void keep_house() {
    if (habits_.starts_full && connections_.empty())
      for (int i = 0; i < habits_.most; i++) free_.push_back(open());
    const auto free_now = free_;
    for (Connection* connection : free_now) {
      const bool is_old = connection->expires_on <= time_.monotonic();
      const bool is_unwanted =
          habits_.idle_timeout > 0_us && time_.monotonic() - connection->returned_on > habits_.idle_timeout;
      if (!is_old && !is_unwanted) continue;
      if (is_old && habits_.opens_before_closing) free_.push_back(open());
      free_.erase(std::find(free_.begin(), free_.end(), connection));
      if (is_old && habits_.opens_before_closing)
        closing_.push_back(connection);  // asynchronously: it still exists until the next sample
      else
        close(connection);
      if (is_old && !habits_.opens_before_closing) free_.push_back(open());
    }
    while (static_cast<int>(free_.size()) < habits_.spares &&
           static_cast<int>(connections_.size()) < habits_.most)
      free_.push_back(open());
  }

  void look() {
    look_on_ = time_.monotonic() + kSecond;
    PoolObservation observation{};
    suspects_ = 0;
    int idle = 0;
    for (Connection& c : connections_) {
      if (!c.activity.seen_on.is_set()) c.activity.seen_on = time_.monotonic();
      const bool is_idle = !c.is_out || c.busy_until <= time_.monotonic();
      idle += is_idle;
      suspects_ += observe_session(&c.activity, SessionObservation{is_idle, c.has_run}, pool_, kSuspectAfter,
                                   time_.monotonic(), &observation);
      c.has_run = !is_idle;  // it keeps running, and has run something when it stops
    }
    observe_activity(&pool_, observation, time_.monotonic());
    observe_silence(&pool_.silence, PoolTurnover{static_cast<int>(connections_.size()), idle, transactions_},
                    suspect_after_, time_.now());
    silent_samples_ += pool_.silence.has_fallen_silent;
    transactions_ = 0;
    if (suspects_ > most_suspects_) most_suspects_ = suspects_;
    for (Connection* connection : closing_) close(connection);
    closing_.clear();
  }

  Habits habits_;
  std::mt19937 random_;
  std::list<Connection> connections_;
  std::deque<Connection*> free_;
  std::vector<Connection*> closing_;
  MonotonicTime look_on_{};
  int suspects_ = 0;
  int most_suspects_ = 0;
  int transactions_ = 0;  // since the last sample
  int silent_samples_ = 0;
};

// Nights and days, bursts and lulls.
inline void live(Play* play, Micros quiet = 0_us) {
  for (int day = 0; day < 4; day++) {
    play->run(10 * kMinute, 0.05, kSecond, quiet);
    play->run(10 * kMinute, 2, kSecond, quiet);
    play->run(kMinute, 30, kSecond / 2, quiet);
    play->run(10 * kMinute, 5, kSecond, quiet);
    play->run(20 * kSecond, 60, kSecond / 2, quiet);
  }
}

inline Habits sqlalchemy(bool is_lifo) {
  Habits habits;
  habits.is_lifo = is_lifo;
  habits.most = 15;
  habits.keeps = 5;
  habits.resets_on_return = true;
  return habits;
}

inline Habits hikari(int spares) {
  Habits habits;
  habits.most = 20;
  habits.starts_full = spares == 0;
  habits.spares = spares;
  habits.lifetime = 5 * kMinute;
  habits.opens_before_closing = true;
  habits.idle_timeout = spares > 0 ? 4 * kMinute : 0_us;
  return habits;
}

inline Habits pgbouncer() {
  Habits habits;
  habits.is_lifo = true;
  habits.lifetime = 20 * kMinute;
  habits.idle_timeout = 10 * kMinute;
  return habits;
}

inline Habits node_pg() {
  Habits habits;
  habits.is_lifo = true;
  habits.most = 10;
  habits.idle_timeout = 10 * kSecond;
  return habits;
}

inline Habits plain(bool is_lifo) {
  Habits habits;
  habits.is_lifo = is_lifo;
  return habits;
}

}  // namespace pgleak

#endif
