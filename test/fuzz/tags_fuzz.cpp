// The fuzzer of core/tags, and what must hold of the tags of any bytes whatever.
// Called by libFuzzer (`make fuzz`), and by the unit tests with every file of test/fuzz/corpus/tags.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/sql_lexer.hpp"
#include "core/tag_text.hpp"
#include "core/tags.hpp"

namespace {

using pgleak::Tags;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "does not hold: %s\n", what);
  std::abort();
}

// In memory of its own, where the sanitizer sees every byte that is read beyond the end.
void read(const std::string& statement, Tags* tags) {
  char* const copy = static_cast<char*>(std::malloc(statement.size() + 1));
  std::memcpy(copy, statement.data(), statement.size());
  pgleak::TagText text{};
  pgleak::update_tag_text(&text, 1, pgleak::find_tag_comments(copy, statement.size()), "");
  std::free(copy);
  std::memset(static_cast<void*>(tags), 0x5A, sizeof(*tags));
  pgleak::read_tags(text, tags);
}

// The tags by the lexer alone, from the first byte to the last. Returns false if the server would not take
// the statement: a string or a comment has no end.
bool read_by_lexer(const std::string& statement, Tags* tags) {
  std::string comments;
  bool is_correct = true;
  const auto collect = [&comments, &is_correct](pgleak::Span inside, bool is_whole) {
    is_correct = is_correct && is_whole;
    comments += "/*" + std::string(inside.at, inside.end) + "*/";
  };
  pgleak::Span rest{statement.data(), statement.data() + statement.size()};
  pgleak::skip_blank(&rest, collect);
  const std::string leading = comments;
  while (!rest.is_empty()) {
    const char* const token = rest.at;
    pgleak::skip_token(&rest);
    // With more to come, a token that goes on to the end has no end of its own.
    std::string longer(token, rest.at);
    longer += " x";
    pgleak::Span again{longer.data(), longer.data() + longer.size()};
    pgleak::skip_token(&again);
    is_correct = is_correct && !again.is_empty();
    comments.clear();
    pgleak::skip_blank(&rest, collect);
  }
  if (leading.size() + comments.size() > pgleak::kTagTextSize) return false;
  pgleak::read_tags((leading + comments).data(), leading.size() + comments.size(), tags);
  return is_correct;
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
  char code[pgleak::kCodeSize];
  pgleak::write_code(tags, code);
  require(is_terminated(code, sizeof(code)), "a place in the source ends");
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
  static Tags whole, more, exact;
  // The server ends a statement at the first NUL.
  const std::string statement(reinterpret_cast<const char*>(data),
                              strnlen(reinterpret_cast<const char*>(data), size));
  read(statement, &whole);
  check_form(whole);

  // What is found from both ends is what the lexer finds, unless a line comment at the end hides it.
  if (statement.find("--") == std::string::npos && read_by_lexer(statement, &exact) && !whole.is_truncated) {
    require(whole.count == exact.count, "the lexer finds as many tags");
    check_beginning(whole, exact, 0);
  }

  // Nothing that follows can hide a tag at the start.
  read("/*fuzz~1='a',fuzz~2='b%27'*/" + statement, &more);
  check_form(more);
  require(more.count >= 2 && std::strcmp(more.tags[0].key, "fuzz~1") == 0, "a tag at the start is found");
  require(std::strcmp(more.tags[1].value, "b'") == 0, "and the next one");
  return 0;
}
