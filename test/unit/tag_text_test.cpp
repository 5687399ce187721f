// Tests of core/tag_text: comments of statements of any length, merged with the setting, and what the newest
// statement without any leaves in place.
#include "core/tag_text.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace pgleak {
namespace {

TagComments comments_of(const std::string& statement) {
  return find_tag_comments(statement.data(), statement.size());
}

struct Writer {
  TagText text{};

  void run(XactSeq xact_seq, const std::string& statement, const char* setting = "") {
    // The statement is gone when the text is read.
    const std::string copy = statement;
    if (may_have_tags(copy.data(), copy.size()) || setting[0] != '\0')
      update_tag_text(&text, xact_seq, comments_of(copy), setting);
  }

  std::string tags() const {
    Tags tags;
    read_tags(text, &tags);
    std::string result;
    for (int i = 0; i < tags.count; i++)
      result += std::string(i > 0 ? "," : "") + tags.tags[i].key + "=" + tags.tags[i].value;
    return result + (tags.is_truncated ? "..." : "");
  }
};

std::string tags_of(const std::string& statement, const char* setting = "") {
  Writer writer;
  writer.run(1, statement, setting);
  return writer.tags();
}

const std::string kLong = "SELECT '" + std::string(10000, 'x') + "'";

TEST(TagTextTest, StatementsOfAnyLengthHaveTheirTags) {
  EXPECT_EQ(tags_of(kLong + " /*route='/orders'*/"), "route=/orders");
  EXPECT_EQ(tags_of(kLong + "/*route='/orders'*/;\n"), "route=/orders");
  EXPECT_EQ(tags_of("/*route='/orders'*/ " + kLong), "route=/orders");
  EXPECT_EQ(tags_of("/*a='1'*/" + kLong + "/*b='2'*/"), "a=1,b=2");
  EXPECT_EQ(tags_of(kLong), "");
  EXPECT_EQ(tags_of(kLong + ";"), "");
}

// What the libraries send, from the specification of sqlcommenter and from OpenTelemetry in Python, Node.js
// and Java: at the end of the statement, keys in order, values percent-encoded.
TEST(TagTextTest, OutputOfInstrumentationsIsRead) {
  const std::string parent = "traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'";
  const std::string shown = "traceparent=00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01";
  EXPECT_EQ(tags_of(kLong +
                    " /*db_driver='psycopg2%%3A2.9.3%%20%%28dt%%20dec%%20pq3%%20ext%%20lo64%%29',"
                    "dbapi_level='2.0'," +
                    parent + "*/"),
            "db_driver=psycopg2%:2.9.3% %(dt% dec% pq3% ext% lo64%),dbapi_level=2.0," + shown)
      << "Python doubles percent signs for a driver that does not undo it";
  EXPECT_EQ(tags_of(kLong + " /*action='%2Fparam*d',controller='index',framework='spring'," + parent +
                    ",tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/"),
            "action=/param*d,controller=index,framework=spring," + shown +
                ",tracestate=congo=t61rcWkgMzE,rojo=00f067aa0ba902b7");
  EXPECT_EQ(tags_of(kLong +
                    " /*client_timezone='%2B00%3A00',db_driver='node-postgres%3A8.7.1',"
                    "route='%2Forders%2F%3Aid'," +
                    parent + "*/"),
            "client_timezone=+00:00,db_driver=node-postgres:8.7.1,route=/orders/:id," + shown);
  EXPECT_EQ(tags_of("/*" + parent + "*/ " + kLong), shown) << "Java can put it first";
}

TEST(TagTextTest, LineCommentsAndStringsAreToldApart) {
  EXPECT_EQ(tags_of(kLong + " -- /*route='/orders'*/"), "");
  EXPECT_EQ(tags_of(kLong + " -- " + std::string(3000, 'y') + "/*route='/orders'*/"), "");
  EXPECT_EQ(tags_of(kLong + " || 'a--b' /*route='/orders'*/"), "route=/orders");
  EXPECT_EQ(tags_of(kLong + " -- why\n /*route='/orders'*/"), "route=/orders");
  EXPECT_EQ(tags_of(kLong + " -- why\r /*route='/orders'*/"), "route=/orders");
  EXPECT_EQ(tags_of("SELECT '" + std::string(20000, 'x') + "--' /*route='/orders'*/"), "")
      << "too long to be sure";
}

TEST(TagTextTest, ACommentThatDoesNotFitIsKnownToBeMissing) {
  const std::string most(kTagTextSize - 8, 'x');  // with /*a=''*/ around it
  EXPECT_EQ(tags_of("/*a:" + most.substr(0, 500) + "*/" + kLong), "a=" + most.substr(0, 500));
  EXPECT_EQ(tags_of("/*" + std::string(kTagTextSize, 'x') + "*/" + kLong), "...");
  EXPECT_EQ(tags_of(kLong + "/*" + std::string(kTagTextSize, 'x') + "*/"), "...");
  EXPECT_EQ(tags_of("/*a:" + std::string(400, 'x') + "*//*b:" + std::string(400, 'y') +
                    "*/ SELECT 1 /*c:" + std::string(300, 'z') + "*/"),
            "a=" + std::string(400, 'x') + ",b=" + std::string(400, 'y') + "...");
}

TEST(TagTextTest, UntaggedStatementsLeaveTheTagsInPlace) {
  Writer writer;
  writer.run(1, "BEGIN /*route='/orders'*/");
  writer.run(1, "SELECT NULL");
  writer.run(1, "FETCH 10 FROM c;");
  EXPECT_EQ(writer.tags(), "route=/orders");
  writer.run(1, "UPDATE t SET a = 1 /*route='/cart'*/");
  EXPECT_EQ(writer.tags(), "route=/cart");
  writer.run(1, " SELECT 1");
  writer.run(1, "/* ping */ SELECT 1");
  writer.run(1, "SELECT 1 /* note: none */");
  EXPECT_EQ(writer.tags(), "route=/cart");
  writer.run(1, "/*controller:cart*/ SELECT 1");
  EXPECT_EQ(writer.tags(), "controller=cart");
}

TEST(TagTextTest, TheNextTransactionBeginsWithoutTags) {
  Writer writer;
  writer.run(1, "SELECT 1 /*route='/orders'*/");
  writer.run(2, "SELECT 1;");
  EXPECT_EQ(writer.text.xact_seq, 2U);
  EXPECT_EQ(writer.tags(), "");
}

TEST(TagTextTest, CommentsWinOverTheSetting) {
  EXPECT_EQ(tags_of("SELECT 1", "route='/setting',job='x'"), "route=/setting,job=x");
  EXPECT_EQ(tags_of("SELECT 1 /*route='/orders'*/", "route='/setting',job='x'"), "route=/orders,job=x");
}

TEST(TagTextTest, TheSettingChangesBesideTheComments) {
  Writer writer;
  writer.run(1, "SELECT 1 /*route='/orders'*/", "job='x'");
  writer.run(1, "SELECT 2", "job='y'");
  EXPECT_EQ(writer.tags(), "route=/orders,job=y");
  update_tag_text(&writer.text, 1, TagComments{}, "");
  EXPECT_EQ(writer.tags(), "route=/orders");
}

TEST(TagTextTest, AStatementThatFailedBeforeItRanCountsAsFarAsItIsShown) {
  const auto shown = [](Writer writer, const std::string& statement, bool is_cut = false) {
    add_shown_statement(&writer.text, statement.data(), statement.size(), is_cut);
    return writer.tags();
  };
  Writer writer;
  EXPECT_EQ(shown(writer, "SELEC 1 /*route='/orders'*/"), "route=/orders");
  EXPECT_EQ(shown(writer, "/*route='/orders'*/ SELECT '" + std::string(80, 'x'), true), "route=/orders");
  writer.run(1, "SELECT 1 /*route='/cart'*/", "job='x'");
  EXPECT_EQ(shown(writer, "SELEC 1 /*route='/orders'*/"), "route=/orders,job=x");
  EXPECT_EQ(shown(writer, "SELECT NULL"), "route=/cart,job=x");
  EXPECT_EQ(shown(writer, "/* ping */ SELECT 1"), "route=/cart,job=x");
  EXPECT_EQ(shown(writer, "/*route='/orders'*/ SELECT '" + std::string(80, 'x'), true), "route=/cart,job=x");
}

TEST(TagTextTest, ASettingWithoutRoomIsKnownToBeMissing) {
  const std::string comment = "/*a:" + std::string(500, 'x') + "*/";
  const std::string setting = "b='" + std::string(511, 'y') + "'";
  EXPECT_EQ(tags_of(comment + "SELECT 1", setting.c_str()), "a=" + std::string(500, 'x') + "...");
  EXPECT_EQ(tags_of("SELECT 1", setting.c_str()), "b=" + std::string(511, 'y'));
}

}  // namespace
}  // namespace pgleak
