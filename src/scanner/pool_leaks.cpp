#include <optional>

#include "core/statement_kind.hpp"
#include "core/tags.hpp"
#include "pg/backend_status.hpp"
#include "pg/postgres.hpp"
#include "scanner/pools.hpp"
#include "scanner/tracked_session.hpp"

extern "C" {
#include "pgstat.h"
}

namespace pgleak {

namespace {

void read_place(int index, const Episode& episode, LeakOrigin* origin) {
  read_episode_tags(index, episode, sampler->statement, &sampler->tag_text);
  read_tags(sampler->tag_text, &sampler->tags);
  write_route(sampler->tags, origin->route);
  write_code(sampler->tags, origin->code);
}

void read_text(const char* text, std::size_t length, LeakOrigin* origin) {
  write_first_words(text, length, origin->statement);
  origin->kind = statement_kind(text, length);
}

// The newest statement of the transaction that did something. A keepalive or a test query behind it says
// nothing about the code.
void look_before_probe(int index, const Episode& episode, LeakOrigin* origin) {
  const int count = read_trail(index, episode.xact_seq, sampler->trail);
  for (int i = count - 1; i >= 0; i--) {
    const TrailEntry& entry = sampler->trail[i];
    if (statement_kind(entry.text, entry.length) != StatementKind::kOther) continue;
    read_text(entry.text, entry.length, origin);
    return;
  }
}

// A session that has woken up may just be ending its transaction; where that came from has not changed.
const LeakOrigin& origin_of(int index, const SessionTrack& track, const Episode& episode) {
  KnownOrigin& known = sampler->origins[index];
  const std::uint32_t version = status_version(index);
  const bool has_woken = is_active(track.state) && !is_active(episode.progress.last_state);
  if (known.leak_id == episode.leak_id && (known.version == version || has_woken)) return known.origin;
  int length = 0;
  known.leak_id = 0;
  known.origin = LeakOrigin{};
  if (!read_status_strings(index, episode.session, nullptr, sampler->statement,
                           pgstat_track_activity_query_size, &length))
    return known.origin;
  known.leak_id = episode.leak_id;
  known.version = version;
  read_place(index, episode, &known.origin);
  read_text(sampler->statement, static_cast<std::size_t>(length), &known.origin);
  if (known.origin.kind == StatementKind::kProbe) look_before_probe(index, episode, &known.origin);
  return known.origin;
}

// A session is lost to its pool if it waits for its client in a transaction, or if its transaction is too
// old. One that works, or waits for somebody else, is not, and one that is idle outside of a transaction is
// free, whatever it holds.
bool is_lost_to_pool(const SessionRecord& record) {
  const SessionState state = record.episode.progress.last_state;
  if (!is_active(state)) return state != SessionState::kIdle;
  return record.episode.clock != Clock::kBlocking && !record.waits_for_lock;
}

// The session has gone on since the scan: the next one will close the episode.
bool is_over(const SessionTrack& track, const Episode& episode) {
  const bool are_known = track.xact_start.is_set() && episode.xact_start.is_set();
  return track.state == SessionState::kIdle || (are_known && track.xact_start != episode.xact_start);
}

}  // namespace

bool count_leak(int index, const SessionTrack& track, PoolSample* pool, PoolSample* server) {
  if (!open_episodes()[index]) return false;
  const SessionRecord& record = TrackedSession(index).record();
  if (record.episode.session != track.id || !is_lost_to_pool(record)) return false;
  if (is_over(track, record.episode)) return false;
  LeakOrigin origin = origin_of(index, track, record.episode);
  origin.touches_nothing = record.impact.locks == 0 && record.impact.xid == 0;
  for (PoolSample* sample : {pool, server}) {
    if (sample == nullptr) continue;
    sample->counts.leaked++;
    sample->leaks.add(record.episode, origin);
  }
  return true;
}

void collect_ended_episodes() {
  while (const std::optional<EndedEpisode> ended = take_ended_episode()) {
    const int pool = sampler->tracks[ended->index].pool;
    if (pool != kNoPool) sampler->collected[pool].sample.ends.add(ended->outcome, ended->lasted);
  }
}

}  // namespace pgleak
