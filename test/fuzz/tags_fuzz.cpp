// The fuzzer of core/tags, and what must hold of the tags of any bytes whatever.
// Called by libFuzzer (`make fuzz`), and by the unit tests with every file of test/fuzz/corpus/tags.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/tags.hpp"

namespace {

using pgleak::Tags;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// In memory of its own, where the sanitizer sees every byte that is read beyond the end.
void read(const std::string& statement, bool is_cut, Tags* tags) {
  char* const copy = static_cast<char*>(std::malloc(statement.size() + 1));
  std::memcpy(copy, statement.data(), statement.size());
  std::memset(static_cast<void*>(tags), 0x5A, sizeof(*tags));
  pgleak::read_tags(copy, statement.size(), is_cut, tags);
  std::free(copy);
}

bool is_terminated(const char* text, std::size_t size) { return std::memchr(text, '\0', size) != nullptr; }

void check_form(const Tags& tags) {
  require(tags.count >= 0 && tags.count <= pgleak::kMaxTags, "the number of tags is bounded");
  for (int i = 0; i < tags.count; i++) {
    const pgleak::Tag& tag = tags.tags[i];
    require(is_terminated(tag.key, sizeof(tag.key)), "a key ends");
    require(is_terminated(tag.value, sizeof(tag.value)), "a value ends");
    require(tag.key[0] != '\0', "a key is not empty");
    require(pgleak::find_tag(tags, tag.key) == &tag, "a key comes once");
  }
  char route[pgleak::kRouteSize];
  const bool has_route = pgleak::write_route(tags, route);
  require(is_terminated(route, sizeof(route)), "a route ends");
  require(has_route == (route[0] != '\0'), "a route is not empty");
}

// The tags of `some` are the first ones of `all`.
void check_beginning(const Tags& some, const Tags& all, int offset) {
  require(some.count + offset <= all.count || all.count == pgleak::kMaxTags, "no tag is lost");
  for (int i = 0; i < some.count && i + offset < all.count; i++) {
    require(std::strcmp(some.tags[i].key, all.tags[i + offset].key) == 0, "the keys are the same");
    require(std::strcmp(some.tags[i].value, all.tags[i + offset].value) == 0, "the values are the same");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Tags whole, cut, more;
  const std::string statement(reinterpret_cast<const char*>(data), size);
  read(statement, false, &whole);
  check_form(whole);
  read(statement, true, &cut);
  check_form(cut);
  require(cut.is_truncated || cut.count > 0, "a cut statement without tags may have had some");

  // What is said to be complete is what the whole statement has, wherever it is cut.
  const std::size_t lengths[] = {size / 4, size / 2, size - size / 4, size - (size > 0)};
  for (const std::size_t length : lengths) {
    read(statement.substr(0, length), true, &cut);
    check_form(cut);
    if (!cut.is_truncated) check_beginning(cut, whole, 0);
  }

  // Nothing that follows can hide a tag at the start.
  read("/*fuzz~1='a',fuzz~2='b%27'*/" + statement, false, &more);
  check_form(more);
  require(more.count >= 2 && std::strcmp(more.tags[0].key, "fuzz~1") == 0, "a tag at the start is found");
  require(std::strcmp(more.tags[1].value, "b'") == 0, "and the next one");
  if (pgleak::find_tag(whole, "fuzz~1") == nullptr && pgleak::find_tag(whole, "fuzz~2") == nullptr)
    check_beginning(whole, more, 2);
  return 0;
}
