// Tests of core/statement_kind: what a statement says about its transaction, and its first words.
#include "core/statement_kind.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

namespace pgleak {

inline void PrintTo(StatementKind kind, std::ostream* out) { *out << static_cast<int>(kind); }

namespace {

StatementKind kind(const char* statement) { return statement_kind(statement, std::strlen(statement)); }

std::string words(const std::string& statement) {
  char words[kFirstWordsSize];
  write_first_words(statement.data(), statement.size(), words);
  return words;
}

TEST(StatementKindTest, BeginsATransactionAndDoesNothingElse) {
  for (const char* statement :
       {"BEGIN", "begin;", "/*route='/a'*/ BEGIN WORK", "START TRANSACTION;",
        "BEGIN ISOLATION LEVEL REPEATABLE READ", "start transaction read only, not deferrable",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN -- of everything"})
    EXPECT_EQ(kind(statement), StatementKind::kBegin) << statement;
  for (const char* statement : {"BEGIN; SELECT 1", "BEGIN; UPDATE stock SET quantity = 0", "SET work_mem = 1",
                                "SET LOCAL lock_timeout = 1", "beginning", "COMMIT"})
    EXPECT_EQ(kind(statement), StatementKind::kOther) << statement;
}

TEST(StatementKindTest, ReadsNoTable) {
  for (const char* statement :
       {"SELECT 1", "select 1;", "SELECT NULL", "SELECT 'x'", "SELECT 1 AS \"alive\"", "SELECT now()",
        "SELECT 1, 2", "SELECT version()", "SHOW TRANSACTION ISOLATION LEVEL", "", ";", "/* ping */",
        "/*route='/a'*/ SELECT 1", "VALUES (1)", "SELECT $1", "SELECT current_timestamp"})
    EXPECT_EQ(kind(statement), StatementKind::kProbe) << statement;
  for (const char* statement :
       {"SELECT 1 FROM stock", "SELECT work()", "SELECT pg_advisory_lock(1)", "SELECT \"x\"",
        "SELECT * FROM t", "UPDATE t SET a = 1", "SELECT 1; DELETE FROM t", "FETCH 1 FROM c",
        "SELECT now() FROM t", "TABLE t"})
    EXPECT_EQ(kind(statement), StatementKind::kOther) << statement;
}

TEST(StatementKindTest, StopsAtTheGivenLength) {
  EXPECT_EQ(statement_kind("SELECT 1 FROM stock", 8), StatementKind::kProbe);
  EXPECT_EQ(statement_kind("", 0), StatementKind::kProbe);
}

TEST(FirstWordsTest, LeavesOutCommentsAndWhiteSpace) {
  EXPECT_EQ(words("SELECT 1"), "SELECT 1");
  EXPECT_EQ(words(" /*route='/a'*/ -- x\n SELECT\n\t  1 ;\n"), "SELECT 1");
  EXPECT_EQ(words(""), "");
  EXPECT_EQ(words("/* nothing */"), "");
}

TEST(FirstWordsTest, CutsBetweenWords) {
  EXPECT_EQ(words("SELECT quantity FROM stock WHERE product = 1 AND warehouse = 2 AND more = 3"),
            "SELECT quantity FROM stock WHERE product = 1 AND warehouse...");
  EXPECT_EQ(words(std::string(kFirstWordsSize - 4, 'a')), std::string(kFirstWordsSize - 4, 'a'));
  EXPECT_EQ(words(std::string(200, 'a')), std::string(kFirstWordsSize - 4, 'a') + "...");
}

TEST(FirstWordsTest, CutsBetweenCharacters) {
  std::string text = "ab";
  while (text.size() < 200) text += "\xC3\xA4";
  EXPECT_EQ(words(text), "ab...");
}

}  // namespace
}  // namespace pgleak
