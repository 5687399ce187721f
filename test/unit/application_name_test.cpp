// Tests of core/application_name: which names stand for one application, and which are left alone.
#include "core/application_name.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace pgleak {
namespace {

std::string normalized(std::string name) {
  normalize_application_name(name.data());
  return name.c_str();
}

struct Example {
  const char* name;
  const char* expected;
};

void expect_all(std::initializer_list<Example> examples) {
  for (const Example& example : examples) {
    EXPECT_EQ(normalized(example.name), example.expected) << example.name;
    EXPECT_EQ(normalized(example.expected), example.expected) << "fixed point of " << example.name;
  }
}

TEST(ApplicationNameTest, NamesThatPeopleChooseStay) {
  for (const char* name : {"",
                           "psql",
                           "app1",
                           "app-12",
                           "orders-v2",
                           "node-postgres",
                           "PostgreSQL JDBC Driver",
                           "my-service-prod",
                           "shop-eu-west-1",
                           "web.1",
                           "shop.worker",
                           "oauth2-proxy",
                           "b2b-api",
                           "k8s-operator",
                           "pgbench",
                           "pg_dump",
                           "pgbackrest [backup]",
                           "shop [eu]",
                           "Patroni heartbeat",
                           "Metabase v0.47.2",
                           "DataGrip 2023.3.4",
                           "IntelliJ IDEA 2024.1",
                           "Visual Studio 2022",
                           "sales-2024",
                           "report (2023)",
                           "odoo-17",
                           "sidekiq 7",
                           "sidekiq 6.5.12",
                           "app v1.12.3",
                           "MyApp 1.0.0.0",
                           "MyApp 4.8.1.12",
                           "svc2",
                           "s3-sync",
                           "shop-api-http2",
                           "shop-frontend2-proxy",
                           "release12-batch",
                           "my-feedback-loops",
                           "facade-backend-users",
                           "sqitch@main",
                           "deadbeefcafe",
                           "internationalization-service-for-everybody",
                           "shop - orders",
                           "shop - step:2",
                           "a - b:80",
                           "Slack (2)",
                           "TablePlus",
                           "pgcopydb",
                           "coworker 3x",
                           "rapid 7",
                           "shop - unix",
                           "-",
                           " - ",
                           "*",
                           "a*b",
                           "worker",
                           "[a] [b]",
                           "\xc3\xa9t\xc3\xa9-1",
                           "shop-worker-x",
                           "redis-6379x",
                           "web-01-b",
                           "tier3-node-proxy",
                           "1.2.3",
                           "2024-01-02",
                           "my_app_blue"})
    EXPECT_EQ(normalized(name), name);
}

TEST(ApplicationNameTest, AHostAndPortAreNoPartOfTheName) {
  expect_all({{"api - 10.0.0.12:40312", "api"},
              {"api - 192.168.1.1:1", "api"},
              {"shop - api - 10.0.0.12:40312", "shop - api"},
              {"api - [::1]:50132", "api"},
              {"api - [2001:db8::17]:50132", "api"},
              {"api - [fe80::1%eth0]:50132", "api"},
              {"api - unix(4711):6432", "api"},
              {"api - unix:6432", "api"},
              {"api - web-3.example.com:40001", "api"},
              {"api - 10.0.0.12", "api"},
              {"worker-4711 - 10.0.0.12:40312", "worker"},
              {"shop-api-7d9f8b6c5d-x2x4z - 10.0.0.12:40312", "shop-api"}});
  for (const char* name :
       {"api - web:80", "api - [::1]", "api - :4711x", "api - 10.0.0:x", "api - unix(x):1"})
    EXPECT_EQ(normalized(name), name);
}

// The server keeps 63 bytes of a name.
TEST(ApplicationNameTest, AHostThatTheServerHasCutIsNoPartOfTheName) {
  const std::string suffixes[] = {" - 10.11.12.13:54321", " - [2001:db8::1234:5678]:54321",
                                  " - unix(123456):6432"};
  for (const std::string& suffix : suffixes) {
    for (std::size_t length = 63 - suffix.size(); length < 63; length++) {
      const std::string application(length, 'a');
      EXPECT_EQ(normalized((application + suffix).substr(0, 63)), application) << suffix << " at " << length;
    }
  }
  // A name of that length is not cut for its words.
  const std::string words = std::string(50, 'a') + " - everything";
  ASSERT_EQ(words.size(), 63U);
  EXPECT_EQ(normalized(words), words);
}

TEST(ApplicationNameTest, NumbersOfProcessesAreNoPartOfTheName) {
  expect_all({{"sidekiq-12345", "sidekiq"},
              {"sidekiq 6.5.1 shop [3 of 10 busy]", "sidekiq 6.5.1 shop"},
              {"sidekiq 7.1.2 shop [0 of 5 busy] stopping", "sidekiq 7.1.2 shop [*] stopping"},
              {"sidekiq:12345:shop", "sidekiq:*:shop"},
              {"pgcopydb[7]", "pgcopydb"},
              {"pgcopydb[4711] copy", "pgcopydb[*] copy"},
              {"pgcopydb[2024] copy", "pgcopydb[*] copy"},
              {"odoo-31337", "odoo"},
              {"odoo_31337", "odoo"},
              {"job#31337", "job"},
              {"puma: cluster worker 3: 4711 [shop]", "puma: cluster worker *: * [shop]"},
              {"unicorn worker[3] -c shop.rb", "unicorn worker[*] -c shop.rb"},
              {"celery ForkPoolWorker-12", "celery ForkPoolWorker"},
              {"shop-worker-3", "shop-worker"},
              {"pool-1-thread-17", "pool-1-thread"},
              {"citus_internal gpid=10000000123", "citus_internal"},
              {"shop pid 4711", "shop"},
              {"shop (pid 17)", "shop"},
              {"shop (pid: 17)", "shop"},
              {"shop [eu] [17]", "shop [eu]"},
              {"shop (eu 4711)", "shop (eu *)"},
              {"shop (eu) 4711", "shop (eu)"},
              {"4711-shop", "*-shop"},
              {"4711", "*"},
              {"[4711]", "*"},
              {"4711 - 4712", "*"},
              {"shop-4711-4712-4713", "shop"}});
}

TEST(ApplicationNameTest, NamesOfHostsAreNoPartOfTheName) {
  expect_all({{"celery@web-3", "celery"},
              {"celery@web.example.com", "celery"},
              {"oban@10.1.2.3", "oban"},
              {"shop-10.1.2.3", "shop"},
              {"shop on 10.1.2.3 blue", "shop on * blue"},
              {"shop-ip-10-0-1-23", "shop"},
              {"shop-ip-10-0-1-23.eu-west-1.compute.internal", "shop"},
              {"shop@ip-10-0-1-23", "shop"},
              {"ip-10-0-1-23", "*"}});
}

TEST(ApplicationNameTest, RandomIdentifiersAreNoPartOfTheName) {
  expect_all({{"job 550e8400-e29b-41d4-a716-446655440000", "job"},
              {"550e8400-E29B-41d4-a716-446655440000 job", "* job"},
              {"550e8400-e29b-41d4-a716-446655440000", "*"},
              {"Metabase v0.47.2 [550e8400-e29b-41d4-a716-446655440000]", "Metabase v0.47.2"},
              {"shop-3f4e8a9b1c2d", "shop"},
              {"shop.3f4e8a9b1c2d.blue", "shop.*.blue"},
              {"job-01ARZ3NDEKTSV4RRFFQ69G5FAV", "job"}});
}

TEST(ApplicationNameTest, SuffixesOfPodsAreNoPartOfTheName) {
  expect_all({{"shop-api-7d9f8b6c5d-x2x4z", "shop-api"},
              {"shop-api-5c4d8f9b7-kqwzn", "shop-api"},
              {"shop-api-66d9b8c7f8-abcde", "shop-api"},
              {"shop-api-3547268461-x2x4z", "shop-api"},
              {"nightly-report-28391040-zk8bv", "nightly-report"},
              {"shop-api-7d9f8b6c5d-x2x4z blue", "shop-api-* blue"},
              {"shop-api-7d9f8b6c5d-x2x4z-4711", "shop-api"},
              {"fluentd-x2x4z", "fluentd"},
              {"fluentd-4b7bd", "fluentd"}});
}

TEST(ApplicationNameTest, TitlesOfWindowsAreNoPartOfTheName) {
  expect_all({{"DBeaver 23.1 - Main <shop>", "DBeaver 23.1"},
              {"DBeaver 23.1.0 - SQLEditor <Script-7.sql>", "DBeaver 23.1.0"},
              {"DBeaver Enterprise 23.1.0 - Metadata <shop>", "DBeaver Enterprise 23.1.0"},
              {"DBeaver", "DBeaver"},
              {"pgAdmin 4 - CONN:9385411", "pgAdmin 4"},
              {"pgAdmin 4 - DB:postgres", "pgAdmin 4"}});
}

// Of a connection that comes from 10.1.1.1:6432.
ClientAddress client(const std::string& name) {
  SessionIdentity who{};
  std::strncpy(who.application_name, name.c_str(), kNameSize - 1);
  std::strcpy(who.client_address, "10.1.1.1");
  who.client_port = 6432;
  return shown_client(who);
}

TEST(ApplicationNameTest, PgBouncerNamesTheClient) {
  EXPECT_STREQ(client("api - 10.0.0.12:40312").address, "10.0.0.12");
  EXPECT_EQ(client("api - 10.0.0.12:40312").port, 40312);
  EXPECT_STREQ(client("a - b - [2001:DB8:0::17]:50132").address, "2001:db8::17");
  EXPECT_EQ(client("a - b - [2001:DB8:0::17]:50132").port, 50132);
}

TEST(ApplicationNameTest, OtherwiseTheClientIsWhereTheConnectionComesFrom) {
  for (const char* name :
       {"", "api", "api - 10.0.0.12", "api - 10.0.0.12:99999", "api - 10.0.0.256:1", "api - unix(4711):6432",
        "api - web-3:40312", "api - [fe80::1%eth0]:50132", "api - [::1]", "api - []:5", "api 10.0.0.12:40312",
        "api - [1111:2222:3333:4444:5555:6666:7777:8888:9999]:5"}) {
    EXPECT_STREQ(client(name).address, "10.1.1.1") << name;
    EXPECT_EQ(client(name).port, 6432) << name;
  }
}

TEST(ApplicationNameTest, APortThatTheServerMayHaveCutIsUnknown) {
  const std::string name = std::string(63 - 17, 'a') + " - 10.0.0.12:4031";
  ASSERT_EQ(name.size(), 63U);
  EXPECT_STREQ(client(name).address, "10.0.0.12");
  EXPECT_EQ(client(name).port, kPortUnknown);
}

// Whatever the name, the result is not longer, and normalizing it again changes nothing.
TEST(ApplicationNameTest, RandomNames) {
  std::mt19937 random(1);
  const std::string pieces[] = {"a",
                                "-",
                                " - ",
                                "1",
                                "4711",
                                "x2x4z",
                                "7d9f8b6c5d",
                                "[",
                                "]",
                                "(",
                                ")",
                                "@",
                                ".",
                                "10.0.0.1",
                                ":",
                                "worker",
                                " ",
                                "pid",
                                "ip-1-2-3-4",
                                "2024",
                                "\xc3\xa9",
                                "unix",
                                "[::1]:5",
                                "\x01",
                                "*",
                                "_",
                                "/",
                                "1 of 2",
                                "550e8400-e29b-41d4-a716-446655440000",
                                "host.b",
                                ":40001",
                                "DBeaver"};
  for (int i = 0; i < 100000; i++) {
    std::string name;
    const std::size_t count = random() % 9;
    for (std::size_t j = 0; j < count; j++) name += pieces[random() % std::size(pieces)];
    name = name.substr(0, kNameSize - 1);
    const std::string once = normalized(name);
    ASSERT_LE(once.size(), name.size()) << name;
    ASSERT_EQ(once.empty(), name.empty()) << name;
    ASSERT_EQ(normalized(once), once) << name;
    client(name);
  }
}

}  // namespace
}  // namespace pgleak
