// Tests of core/tags, and of core/tag_text and the lexer below it: every position of a comment, everything
// that only looks like a comment, both formats, and the limits.
#include "core/tags.hpp"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "core/tag_text.hpp"

namespace pgleak {
namespace {

using Pairs = std::vector<std::pair<std::string, std::string>>;

struct Reading {
  Pairs pairs;
  bool is_truncated;
};

void read(const std::string& statement, Tags* tags) {
  TagText text{};
  update_tag_text(&text, 1, find_tag_comments(statement.data(), statement.size()), "");
  read_tags(text, tags);
}

Reading read(const std::string& statement) {
  Tags tags;
  read(statement, &tags);
  Reading result{{}, tags.is_truncated};
  for (int i = 0; i < tags.count; i++) result.pairs.emplace_back(tags.tags[i].key, tags.tags[i].value);
  return result;
}

Pairs pairs(const std::string& statement) { return read(statement).pairs; }

const Pairs kNone;
const Pairs kRoute = {{"route", "/orders"}};
const char kComment[] = "/*route='/orders'*/";

// --- where ---

TEST(TagsTest, AStatementWithoutCommentsHasNone) {
  EXPECT_EQ(pairs(""), kNone);
  EXPECT_EQ(pairs("SELECT 1"), kNone);
  EXPECT_EQ(pairs("  ;;  "), kNone);
  EXPECT_FALSE(read("SELECT 1").is_truncated);
}

TEST(TagsTest, AreReadAtBothEndsOfAStatement) {
  const char* const statements[] = {
      "/*route='/orders'*/SELECT 1",
      "/*route='/orders'*/ SELECT 1;",
      " \t\n/*route='/orders'*/\r\n SELECT 1",
      "-- a line\n/*route='/orders'*/ SELECT 1",
      "/* a block */ /*route='/orders'*/ SELECT 1",
      ";/*route='/orders'*/ SELECT 1",
      "SELECT 1/*route='/orders'*/",
      "SELECT 1 /*route='/orders'*/",
      "SELECT 1 /*route='/orders'*/;",
      "SELECT 1; /*route='/orders'*/",
      "SELECT 1; /*route='/orders'*/ ; \n",
      "SELECT 1 -- a line\n/*route='/orders'*/",
      "SELECT 1 /* a block */ /*route='/orders'*/ /* and another */",
      "SELECT 'a' /*route='/orders'*/",
      "SELECT $1/*route='/orders'*/",
      "SELECT a+/* inside */b /*route='/orders'*/",
      "/*route='/orders'*/",
  };
  for (const char* statement : statements) EXPECT_EQ(pairs(statement), kRoute) << statement;
}

TEST(TagsTest, AreNotReadInTheMiddle) {
  EXPECT_EQ(pairs("SELECT /*route='/orders'*/ 1"), kNone);
  EXPECT_EQ(pairs("SELECT 1; /*route='/orders'*/ SELECT 2"), kNone);
  EXPECT_EQ(pairs("SELECT 1 +/*route='/orders'*/ 2"), kNone);
}

TEST(TagsTest, AreCollectedFromSeveralComments) {
  EXPECT_EQ(pairs("/*a='1'*//*b='2'*/ SELECT 1 /*c:3*/; /*d='4',e='5'*/"),
            (Pairs{{"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}, {"e", "5"}}));
}

TEST(TagsTest, TheFirstOfAKeyWins) {
  EXPECT_EQ(pairs("/*a='1',a='2'*/ SELECT 1 /*a:3,b:4*/"), (Pairs{{"a", "1"}, {"b", "4"}}));
}

// --- the lexer ---

TEST(TagsTest, WhatOnlyLooksLikeACommentIsNone) {
  const char* const statements[] = {
      "SELECT '/*route=''/orders''*/'",
      "SELECT '\n/*route:/orders*/'",
      "SELECT 'a' '/*route:/orders*/'",
      "SELECT 'it''s /*route:/orders*/'",
      "SELECT '\\''/*route:/orders*/'",
      "SELECT E'\\'/*route:/orders*/'",
      "SELECT e'\\'/*route:/orders*/'",
      "SELECT E'\\\\\\'/*route:/orders*/'",
      "SELECT E'''\\'/*route:/orders*/'",
      "SELECT E'a'\n'\\'/*route:/orders*/'",
      "SELECT E'a' -- so\n  '\\'/*route:/orders*/'",
      "SELECT B'/*route:/orders*/'",
      // If the string were taken to end early, the rest of these would be a comment at the end.
      "SELECT E'\\' /*route:/orders*/ -- '",
      "SELECT E'\\\\\\' /*route:/orders*/ -- '",
      "SELECT E'''\\' /*route:/orders*/ -- '",
      "SELECT E'a'\n'\\' /*route:/orders*/ -- '",
      "SELECT E'a' -- so\n  '\\' /*route:/orders*/ -- '",
      "SELECT 'a /*route:/orders*/ -- '",
      "SELECT \"a /*route:/orders*/ -- \"",
      "SELECT $a$ $$ /*route:/orders*/ -- $a$",
      "SELECT U&'/*route:/orders*/'",
      "SELECT U&\"/*route:/orders*/\"",
      "SELECT \"/*route:/orders*/\"",
      "SELECT \"a\"\"/*route:/orders*/\"",
      "SELECT $$ /*route:/orders*/ $$",
      "SELECT $$ ' /*route:/orders*/ $$",
      "SELECT $a$ $$ $b$ /*route:/orders*/ $a$",
      "SELECT $a$ $b$a /*route:/orders*/ $a$",
      "SELECT $\xC3\xA9$ $$ /*route:/orders*/ $\xC3\xA9$",
      "SELECT $1$$ /*route:/orders*/ $$",
      "SELECT 1$$ /*route:/orders*/ $$",
      "SELECT 1 -- /*route:/orders*/",
      "-- /*route:/orders*/",
      "-- /*\nSELECT 1 --*/ /*route:/orders*/",
      "SELECT 1 --/*\r'/*route:/orders*/'",
  };
  for (const char* statement : statements) EXPECT_EQ(pairs(statement), kNone) << statement;
}

TEST(TagsTest, WhatOnlyLooksLikeAStringHidesNoComment) {
  const char* const statements[] = {
      "SELECT 'a\\' /*route='/orders'*/",               // no escape in an ordinary string
      "SELECT 'a'\n'\\' /*route='/orders'*/",           // nor in its continuation
      "SELECT namE'a\\' /*route='/orders'*/",           // the E belongs to the name
      "SELECT E'a' 'b\\' /*route='/orders'*/",          // no newline: another string
      "SELECT E'a'\n/* c */'b\\' /*route='/orders'*/",  // a block comment ends it as well
      "SELECT E'\\\\' /*route='/orders'*/",
      "SELECT a$$ /*route='/orders'*/",  // part of an identifier
      "SELECT a$b$ /*route='/orders'*/",
      "SELECT \xC3\xA9$b$ /*route='/orders'*/",
      "SELECT $a$ b $b$ $a$ /*route='/orders'*/",
      "SELECT $a$ $a$a$ /*route='/orders'*/",
      "SELECT $$$$ /*route='/orders'*/",
      "SELECT $1 $ $a /*route='/orders'*/",
      "SELECT \"'\" /*route='/orders'*/",
      "SELECT '\"' /*route='/orders'*/",
      "SELECT '--' /*route='/orders'*/",
      "SELECT '$$' /*route='/orders'*/",
      "SELECT 1 -- it's\n/*route='/orders'*/",
      "SELECT 1 -- $$\r/*route='/orders'*/",
      "SELECT /* it's */ 1 /*route='/orders'*/",
      "SELECT /* $$ \" -- */ 1 /*route='/orders'*/",
      "SELECT 4 *//* product */ 2 /*route='/orders'*/",
      "SELECT 1 - 1 /*route='/orders'*/",
  };
  for (const char* statement : statements) EXPECT_EQ(pairs(statement), kRoute) << statement;
}

TEST(TagsTest, CommentsNest) {
  EXPECT_EQ(pairs("/* /* */ /*route:/orders*/ */ SELECT 1"), kNone);
  EXPECT_EQ(pairs("/* /* */ SELECT 1 */ /*route='/orders'*/"), kRoute);
  EXPECT_EQ(pairs("/*/ */ /*route='/orders'*/ SELECT 1"), kRoute);
  EXPECT_EQ(pairs("/**/ /*route='/orders'*/ SELECT 1"), kRoute);
  EXPECT_EQ(pairs("/***/ /*route='/orders'*/ SELECT 1"), kRoute);
  EXPECT_EQ(pairs("/*+*//*route='/orders'*/ SELECT 1"), kRoute);
  EXPECT_EQ(pairs("/*glob='/a/*b*/c'*/ SELECT 1"), (Pairs{{"glob", "/a/*b*/c"}}));
  EXPECT_EQ(pairs(std::string(1000, '/') + "SELECT 1"), kNone);
  std::string deep;
  for (int i = 0; i < 10000; i++) deep += "/*";
  EXPECT_EQ(pairs(deep), kNone);
}

TEST(TagsTest, ALineCommentAtTheEndHidesThem) {
  EXPECT_EQ(pairs("SELECT 1 /*route='/orders'*/ -- a line"), kNone);
}

// --- sqlcommenter ---

TEST(SqlcommenterTest, TheExampleOfItsSpecification) {
  EXPECT_EQ(pairs("SELECT * FROM FOO /*action='%2Fparam*d',controller='index,'framework='spring',"
                  "traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01',"
                  "tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/"),
            kNone)
      << "which misplaces a quote";
  EXPECT_EQ(pairs("SELECT * FROM FOO /*action='%2Fparam*d',controller='index',framework='spring',"
                  "traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01',"
                  "tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/"),
            (Pairs{{"action", "/param*d"},
                   {"controller", "index"},
                   {"framework", "spring"},
                   {"traceparent", "00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01"},
                   {"tracestate", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"}}));
}

TEST(SqlcommenterTest, KeysAndValuesAreDecoded) {
  EXPECT_EQ(pairs("/*na%20me='DROP%20TABLE%20FOO'*/ SELECT 1"), (Pairs{{"na me", "DROP TABLE FOO"}}));
  EXPECT_EQ(pairs("/*route='%5Epolls/%24'*/ SELECT 1"), (Pairs{{"route", "^polls/$"}}));
  EXPECT_EQ(pairs("/*a='caf%C3%a9'*/ SELECT 1"), (Pairs{{"a", "caf\xC3\xA9"}}));
  EXPECT_EQ(pairs("/*a='1+1'*/ SELECT 1"), (Pairs{{"a", "1+1"}})) << "a plus sign is no space";
}

TEST(SqlcommenterTest, QuotesAreEscapedOrEncoded) {
  EXPECT_EQ(pairs("/*name='\\'DROP TABLE USERS\\''*/ SELECT 1"), (Pairs{{"name", "'DROP TABLE USERS'"}}));
  EXPECT_EQ(pairs("/*name='it%27s'*/ SELECT 1"), (Pairs{{"name", "it's"}}));
  EXPECT_EQ(pairs("/*na\\'me='x'*/ SELECT 1"), (Pairs{{"na'me", "x"}}));
  EXPECT_EQ(pairs("/*a='b\\c\\\\'*/ SELECT 1"), kNone) << "the last quote is escaped";
  EXPECT_EQ(pairs("/*a='b\\c'*/ SELECT 1"), (Pairs{{"a", "b\\c"}}));
}

TEST(SqlcommenterTest, InvalidPercentSequencesStay) {
  EXPECT_EQ(pairs("/*a='100%',b='%zz',c='%2',d='%%41',e='%-1'*/ SELECT 1"),
            (Pairs{{"a", "100%"}, {"b", "%zz"}, {"c", "%2"}, {"d", "%A"}, {"e", "%-1"}}));
  EXPECT_EQ(pairs("/*a='x%00y',b='%01'*/ SELECT 1"), (Pairs{{"a", "x%00y"}, {"b", "\x01"}}));
}

TEST(SqlcommenterTest, SpaceIsAllowedBetweenTags) {
  EXPECT_EQ(pairs("/* a='1' , b='2'\n*/ SELECT 1"), (Pairs{{"a", "1"}, {"b", "2"}}));
}

TEST(SqlcommenterTest, EmptyValuesAreKept) { EXPECT_EQ(pairs("/*a=''*/ SELECT 1"), (Pairs{{"a", ""}})); }

TEST(SqlcommenterTest, WhetherBytesWereEncodedIsKnown) {
  const std::string statement = "/*a='caf%C3%A9',b='caf\xE9',c='%41',%C3%A9='d'*/";
  Tags tags;
  read(statement, &tags);
  ASSERT_EQ(tags.count, 4);
  EXPECT_TRUE(tags.tags[0].has_decoded_bytes);
  EXPECT_FALSE(tags.tags[1].has_decoded_bytes);
  EXPECT_FALSE(tags.tags[2].has_decoded_bytes);
  EXPECT_TRUE(tags.tags[3].has_decoded_bytes);
}

// --- marginalia ---

TEST(MarginaliaTest, PairsAreTakenLiterally) {
  EXPECT_EQ(pairs("SELECT 1 /*application:BCX,controller:project_imports,action:show*/"),
            (Pairs{{"application", "BCX"}, {"controller", "project_imports"}, {"action", "show"}}));
  EXPECT_EQ(
      pairs("/*application:web,endpoint_id:GET /api/:version/projects,line:/app/m.rb:12:in `a'*/ SELECT 1"),
      (Pairs{{"application", "web"},
             {"endpoint_id", "GET /api/:version/projects"},
             {"line", "/app/m.rb:12:in `a'"}}));
  EXPECT_EQ(pairs("/*a:%2F*/ SELECT 1"), (Pairs{{"a", "%2F"}}));
}

TEST(MarginaliaTest, ACommaInAValueBelongsToIt) {
  EXPECT_EQ(pairs("/*line:block (a, b),job:x,,y*/ SELECT 1"),
            (Pairs{{"line", "block (a, b)"}, {"job", "x,,y"}}));
}

TEST(MarginaliaTest, SpaceIsAllowedBetweenTags) {
  EXPECT_EQ(pairs("/* a:1 , b:2 3 */ SELECT 1"), (Pairs{{"a", "1"}, {"b", "2 3"}}));
}

TEST(MarginaliaTest, EmptyValuesAreLeftOut) {
  EXPECT_EQ(pairs("/*a:,b:2*/ SELECT 1"), (Pairs{{"b", "2"}}));
  EXPECT_EQ(pairs("/*a:*/ SELECT 1"), kNone);
}

// --- what has no tags ---

TEST(TagsTest, OtherCommentsHaveNone) {
  const char* const comments[] = {
      "",
      " ",
      "*",
      "+ IndexScan(t) ",
      "+ Set(enable_seqscan 'off')",
      "+Set(a='b')",
      "+a='b'",
      "+ a='b'",
      "+a:b",
      "! STRAIGHT_JOIN ",
      " note: this is slow ",
      "note:",
      "note: a='b'",
      "TODO",
      " see http://example.com/a ",
      "http://example.com/a",
      "t.a::int",
      "at 12:30",
      "12:30",
      " a = 'b' ",
      "a= 'b'",
      "a ='b'",
      "a=b",
      "a=\"b\"",
      "a='b' and more",
      "and a='b'",
      "a='b';c='d'",
      "a='b',",
      ",a='b'",
      "a='b',,c='d'",
      "='b'",
      "a='b'c='d'",
      "a='b',c:d",
      "a='b",
      "a",
      "a=",
      "a b:c",
      ":a",
      "a :b",
      "\xC3\xA9:b",
      "{\"a\":\"b\"}",
      "a\x01='b'",
      "'",
      "%",
      "\\",
      "\\'",
      "/* a:b */",
  };
  for (const std::string comment : comments) {
    EXPECT_EQ(pairs("/*" + comment + "*/ SELECT 1"), kNone) << comment;
    EXPECT_EQ(pairs("SELECT 1 /*" + comment + "*/"), kNone) << comment;
    EXPECT_EQ(pairs("/*" + comment + "*/ /*route='/orders'*/ SELECT 1"), kRoute) << comment;
    EXPECT_FALSE(read("/*" + comment + "*/ SELECT 1").is_truncated) << comment;
  }
}

// --- limits ---

TEST(TagsTest, MoreThanTheMostAreLeftOut) {
  std::string comment = "a0='0'";
  Pairs expected = {{"a0", "0"}};
  for (int i = 1; i < kMaxTags; i++) {
    comment += ",a" + std::to_string(i) + "='" + std::to_string(i) + "'";
    expected.emplace_back("a" + std::to_string(i), std::to_string(i));
  }
  EXPECT_EQ(pairs("/*" + comment + "*/"), expected);
  EXPECT_FALSE(read("/*" + comment + "*/").is_truncated);
  EXPECT_FALSE(read("/*" + comment + ",a3='again'*/").is_truncated);
  const Reading more = read("/*" + comment + ",one='more'*/");
  EXPECT_EQ(more.pairs, expected);
  EXPECT_TRUE(more.is_truncated);
}

TEST(TagsTest, LongValuesAreCut) {
  const std::size_t most = kTagValueSize - 1;
  EXPECT_EQ(pairs("/*a='" + std::string(most, 'x') + "'*/"), (Pairs{{"a", std::string(most, 'x')}}));
  EXPECT_FALSE(read("/*a='" + std::string(most, 'x') + "'*/").is_truncated);
  const Reading longer = read("/*a='" + std::string(most, 'x') + "%41',b='2'*/");
  EXPECT_EQ(longer.pairs, (Pairs{{"a", std::string(most, 'x')}, {"b", "2"}}));
  EXPECT_TRUE(longer.is_truncated);
  EXPECT_TRUE(read("/*a:" + std::string(most + 1, 'x') + "*/").is_truncated);

  std::string encoded;
  for (int i = 0; i < 300; i++) encoded += "%41";
  EXPECT_EQ(pairs("/*a='" + encoded + "'*/"), (Pairs{{"a", std::string(300, 'A')}}));
}

TEST(TagsTest, LongKeysAreLeftOut) {
  const std::size_t most = kTagKeySize - 1;
  EXPECT_EQ(pairs("/*" + std::string(most, 'k') + "='v'*/"), (Pairs{{std::string(most, 'k'), "v"}}));
  const Reading longer = read("/*" + std::string(most + 1, 'k') + "='v',b='2'*/");
  EXPECT_EQ(longer.pairs, (Pairs{{"b", "2"}}));
  EXPECT_TRUE(longer.is_truncated);
}

// --- the route ---

std::string route(const std::string& statement) {
  Tags tags;
  char text[kRouteSize];
  read(statement, &tags);
  const bool has_route = write_route(tags, text);
  EXPECT_EQ(has_route, text[0] != '\0');
  return text;
}

TEST(RouteTest, IsTheTagOrTheControllersAction) {
  EXPECT_EQ(route(kComment), "/orders");
  EXPECT_EQ(route("/*controller:orders,action:show*/"), "orders#show");
  EXPECT_EQ(route("/*action:show,controller:orders*/"), "orders#show");
  EXPECT_EQ(route("/*controller='orders',route='/orders'*/"), "/orders");
  EXPECT_EQ(route("/*controller:orders*/"), "orders");
  EXPECT_EQ(route("/*action:show*/"), "");
  EXPECT_EQ(route("/*route=''*/"), "");
  EXPECT_EQ(route("SELECT 1"), "");
}

TEST(RouteTest, IsCutBetweenCharacters) {
  EXPECT_EQ(route("/*route='" + std::string(kRouteSize - 2, 'x') + "%C3%A9'*/"),
            std::string(kRouteSize - 2, 'x'));
  EXPECT_EQ(route("/*route='" + std::string(500, 'x') + "'*/"), std::string(kRouteSize - 1, 'x'));
}

// --- the place in the source ---

std::string code(const std::string& statement) {
  Tags tags;
  char text[kCodeSize];
  read(statement, &tags);
  const bool has_code = write_code(tags, text);
  EXPECT_EQ(has_code, text[0] != '\0');
  return text;
}

TEST(CodeTest, IsKnownByTheKeysThatPeopleUse) {
  EXPECT_EQ(code("/*code='app/orders.py%3A42%20get_orders'*/"), "app/orders.py:42 get_orders");
  EXPECT_EQ(code("/*source_location:app/models/order.rb:12:in `find'*/"), "app/models/order.rb:12:in `find'");
  EXPECT_EQ(code("/*code.filepath='src/a.js',code.lineno='7',code.function='get'*/"), "src/a.js:7 get");
  EXPECT_EQ(code("/*code.file.path='src/a.js',code.line.number='7',code.function.name='get'*/"),
            "src/a.js:7 get");
  EXPECT_EQ(code("/*file='a.go',line='9',function='main.get'*/"), "a.go:9 main.get");
  EXPECT_EQ(code("/*file='a.go',line='9',func='main.get'*/"), "a.go:9 main.get");
  EXPECT_EQ(code("/*file='a.go'*/"), "a.go");
  EXPECT_EQ(code("/*line='9',function='main.get'*/"), "");
  EXPECT_EQ(code("/*route='/orders'*/"), "");
  EXPECT_EQ(code("/*code=''*/"), "");
}

TEST(CodeTest, WhatSaysAllOfItWins) {
  EXPECT_EQ(code("/*file='a',line='1',code.filepath='b',code='c:2'*/"), "c:2");
  EXPECT_EQ(code("/*file='a',line='1',code.filepath='b'*/"), "b");
}

TEST(CodeTest, IsCutAtTheStartOfThePath) {
  const std::string tail = "/app/orders.py:42 get";
  const std::string whole = code("/*code='" + std::string(200, 'x') + tail + "'*/");
  EXPECT_EQ(whole, std::string(kCodeSize - 1 - tail.size(), 'x') + tail);
  EXPECT_EQ(code("/*code='" + std::string(100, 'y') + "%C3%A9" + std::string(kCodeSize - 2, 'x') + "'*/"),
            std::string(kCodeSize - 2, 'x'));
}

// --- a list of tags, as in the setting ---

TEST(TagListTest, IsEmptyOrCorrect) {
  EXPECT_EQ(check_tag_list(""), TagListError::kNone);
  EXPECT_EQ(check_tag_list("route='/orders',job='night%20ly'"), TagListError::kNone);
  EXPECT_EQ(check_tag_list(" a='1' , b='2' "), TagListError::kNone);
  EXPECT_EQ(check_tag_list(("a='" + std::string(kTagValueSize - 1, 'x') + "'").c_str()), TagListError::kNone);
}

TEST(TagListTest, ErrorsAreToldApart) {
  const char* const malformed[] = {
      "route", "route=/orders", "route:/orders", "a='1',", "a='1' b='2'", "a='1", "+a='1'", "'", " "};
  for (const char* text : malformed) EXPECT_EQ(check_tag_list(text), TagListError::kFormat) << text;
  EXPECT_EQ(check_tag_list("a='*/ DROP TABLE x; /*'"), TagListError::kComment);
  EXPECT_EQ(check_tag_list("a='/*'"), TagListError::kComment);
  EXPECT_EQ(check_tag_list(("a='" + std::string(kTagValueSize, 'x') + "'").c_str()), TagListError::kLimits);
  EXPECT_EQ(check_tag_list((std::string(kTagKeySize, 'k') + "='1'").c_str()), TagListError::kLimits);
  std::string many;
  for (int i = 0; i <= kMaxTags; i++) many += (i > 0 ? ",a" : "a") + std::to_string(i) + "='1'";
  EXPECT_EQ(check_tag_list(many.c_str()), TagListError::kLimits);
  EXPECT_EQ(check_tag_list(std::string(kMaxTagList + 1, 'x').c_str()), TagListError::kTooLong);
}

}  // namespace
}  // namespace pgleak
