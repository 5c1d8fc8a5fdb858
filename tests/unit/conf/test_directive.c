/* Each directive: what it accepts, what it refuses, and that the rest of the grammar is judged
 * before it is refused as 'not in this version'. */
#include <unistd.h>

#include "lb4/conf/directive.h"

#include "conf_text.h"

/* `line` stands at 4:2 of a service that is complete without it. */
static const char *in_service(const char *line)
{
    static char text[2048];

    snprintf(text, sizeof(text),
             "service x {\n listen tcp :7000\n server one 10.0.0.1:80\n %s\n}\n", line);
    return text;
}

/* `line` stands at 1:1. */
static const char *at_top(const char *line)
{
    static char text[2048];

    snprintf(text, sizeof(text), "%s\nservice x {\n listen tcp :7000\n server one 10.0.0.1:80\n}\n",
             line);
    return text;
}

static void test_accepted(void **state)
{
    static const char *const top[] = {
        "workers auto",
        "workers 1",
        "workers 256",
        "maxconn auto",
        "maxconn 10000000",
        "pipes auto",
        "pipes 0",
        "pipes 4096",
        "splice on",
        "splice off",
        "drain 1ms",
        "drain 365d",
        "user lb4",
        "user a:b",
        "user 1000:1000",
        "admin unix:/run/lb4/admin.sock",
        "http 127.0.0.1:1",
        "http :9404",
        "http [::1]:65535",
        "\"workers\" \"4\"",
        "log stderr",
        "log file /var/log/lb4/lb4.log",
        "log syslog",
        "log syslog daemon",
        "log syslog local0",
        "log-format text",
        "log-format json",
        "cpu-affinity auto",
        "cpu-affinity off",
        "cpu-scheduling auto",
        "cpu-scheduling inherit",
        "io-uring auto",
        "io-uring off",
    };
    static const char *const service[] = {
        "balance leastconn",
        "balance roundrobin",
        "check none",
        "balance source",
        "balance random",
        "check tcp",
        "check tcp interval 2s timeout 1s fall 3 rise 2 fast 500ms port 80",
        "check tcp port 65535 fast 2s rise 100 fall 1 timeout 365d",
        "check tcp fast 3s interval 3s",
        "check tcp interval 1ms",
        "access-log on",
        "access-log off",
        "access-log on interval 10m",
        "tries 1",
        "tries 100",
        "timeout connect 1ms",
        "timeout idle 365d",
        "timeout half-close 10s",
        "timeout udp 10s",
        "server two 198.51.100.2",
        "server two 10.0.0.2:1 weight 1",
        "server two [::ffff:10.0.0.2]:65535 weight 256",
        "server two 10.0.0.2:1 backup",
        "server two 10.0.0.2:1 backup weight 256",
        "server two db.example",
        "server two db.example:65535 weight 3 backup",
        "server two localhost:80",
        "listen tcp 0.0.0.0:1",
        "listen tcp [::1]:1-3",
        "listen udp :80",
        "listen udp :7000",
        "listen both :80-90",
        "listen udp :80\n udp-on-down keep",
        "udp-on-down rebind\n listen both :80",
        "listen udp :80\n udp-responses 0\n udp-sessions 1",
        "listen udp :80\n udp-responses 10000000\n udp-sessions 10000000",
    };
    struct conf conf;

    (void)state;
    for (size_t i = 0; i < sizeof(top) / sizeof(top[0]); i++) {
        conf_text_accept(at_top(top[i]), &conf);
        conf_free(&conf);
    }
    for (size_t i = 0; i < sizeof(service) / sizeof(service[0]); i++) {
        conf_text_accept(in_service(service[i]), &conf);
        conf_free(&conf);
    }
}

static void test_refused_at_top(void **state)
{
    static const struct {
        const char *line;
        const char *place;
        const char *fragment;
    } cases[] = {
        {"workers 0", "1:9", "workers: 0 is outside 1..256"},
        {"workers 257", "1:9", "workers: 257 is outside 1..256"},
        {"workers two", "1:9", "neither 'auto' nor a number in 1..256"},
        {"workers", "1:1", "an argument is missing: workers auto|1..256"},
        {"workers 1 2", "1:11", "one argument too many: workers auto|1..256"},
        {"workers 1\nworkers 1", "2:1", "'workers' is given twice"},
        {"maxconn 0", "1:9", "outside 1..10000000"},
        {"maxconn 10000001", "1:9", "outside 1..10000000"},
        {"pipes 4097", "1:7", "outside 0..4096"},
        {"splice yes", "1:8", "is not one of: on, off"},
        {"cpu-affinity on", "1:14", "is not one of: auto, off"},
        {"cpu-scheduling off", "1:16", "is not one of: auto, inherit"},
        {"io-uring on", "1:10", "is not one of: auto, off"},
        {"drain 30", "1:7", "not a duration in 1ms..365d; the unit is needed"},
        {"drain 366d", "1:7", "outside 1ms..365d"},
        {"user a:", "1:8", "1..64 of A-Z"},
        {"user :b", "1:6", "1..64 of A-Z"},
        {"user \"a b\"", "1:6", "1..64 of A-Z"},
        {"user \"a\\x00b\"", "1:6", "NUL byte"},
        {"admin 127.0.0.1:1", "1:7", "accepted: unix:/path"},
        {"admin unix:run", "1:7", "absolute path of at most 107 bytes"},
        {"admin unix:@run", "1:7", "accepted: unix:/path"},
        {"http unix:/x", "1:6", "accepted: 127.0.0.1:9404"},
        {"http 127.0.0.1", "1:6", "accepted: 127.0.0.1:9404"},
        {"http :1-2", "1:6", "accepted: 127.0.0.1:9404"},
        {"http localhost:80", "1:6", "accepted: 127.0.0.1:9404"},
        {"log", "1:1", "an argument is missing: log stderr, log file PATH, or log syslog"},
        {"log stdout", "1:5", "'stdout' is not one of: stderr, file, syslog"},
        {"log stderr x", "1:12", "log stderr takes no argument"},
        {"log file", "1:5", "log file: an argument is missing: an absolute path"},
        {"log file lb4.log", "1:10", "'lb4.log' is not an absolute path of at most 1023 bytes"},
        {"log file \"/a\\x00b\"", "1:10", "NUL byte"},
        {"log syslog x", "1:12", "is not one of: kern, user, mail, daemon, auth, syslog"},
        {"log-format xml", "1:12", "is not one of: text, json"},
        {"access-log on", "1:1", "it belongs in 'defaults' or in a service"},
        {"defaults {\n access-log\n}", "2:2", "an argument is missing: access-log on"},
        {"worker 1", "1:1", "did you mean 'workers'"},
        {"Workers 1", "1:1", "did you mean 'workers'"},
        {"work 1", "1:1",
         "accepted at the top level: workers, cpu-affinity, cpu-scheduling, io-uring, "},
        {"listen tcp :1", "1:1", "it belongs in a service"},
        {"timeout idle 1s", "1:1", "it belongs in 'defaults' or in a service"},
        {"defaults {\n tries 3\n}", "2:2", "'tries' is not accepted in 'defaults'"},
        {"defaults {\n timeout idle 1s\n timeout idle 1s\n}", "3:2", "'timeout idle' is given"},
        {"defaults {\n timeout 1s\n}", "2:10", "one of: connect, idle, half-close, udp"},
        {"defaults {\n timeout\n}", "2:2", "one of: connect, idle, half-close, udp"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        conf_text_refuse(at_top(cases[i].line), cases[i].place, cases[i].fragment);
}

static void test_refused_in_service(void **state)
{
    static const struct {
        const char *line;
        const char *place;
        const char *fragment;
    } cases[] = {
        {"tries 0", "4:8", "tries: 0 is outside 1..100"},
        {"tries 101", "4:8", "tries: 101 is outside 1..100"},
        {"access-log yes", "4:13", "is not one of: on, off"},
        {"access-log off interval 1s", "4:17", "access-log off takes no argument"},
        {"access-log on every 1s", "4:16", "unknown word 'every', accepted here: interval"},
        {"access-log on interval", "4:16", "interval: a value is missing: 1ms..365d"},
        {"access-log on interval 5", "4:25", "the unit is needed"},
        {"access-log on\n access-log off", "5:2", "'access-log' is given twice"},
        {"balance first", "4:10", "one of: leastconn, roundrobin, source, random"},
        {"balance round", "4:10", "one of: leastconn, roundrobin"},
        {"listen :80", "4:2", "an argument is missing: listen tcp|udp|both ADDRESS"},
        {"listen sctp :80", "4:9", "one of: tcp, udp, both"},
        {"listen tcp 10.0.0.1", "4:13", "needs a port or a range of ports in 1..65535"},
        {"listen tcp db.example:80", "4:13", "not in this version: give an IP address"},
        {"listen udp unix:/x", "4:9", "tcp only"},
        {"listen tcp unix:/x mode 1000", "4:26", "mode takes octal digits in 0..0777"},
        {"listen tcp 224.0.0.1:80", "4:13", "unicast"},
        {"listen udp :0", "4:13", "port 0 is outside 1..65535"},
        {"listen udp :80 accept-proxy from 10.0.0.0/33", "4:35", "0..32"},
        {"udp-on-down keep", "4:2", "udp-on-down: the service has no UDP listener"},
        {"udp-responses 1", "4:2", "udp-responses: the service has no UDP listener"},
        {"udp-sessions 1", "4:2", "udp-sessions: the service has no UDP listener; add: listen udp"},
        {"listen udp :80\n udp-responses 1\n udp-responses 1", "6:2", "is given twice"},
        {"listen tcp :80 accept-proxy from 10.0.0.0/8 10.0.0.0/99", "4:46", "0..32"},
        {"listen tcp :80 accept-proxy from 2001:db8::/129", "4:35", "0..128"},
        {"listen tcp :80 accept-proxy from db.example", "4:35", "accept-proxy: 'db.example'"},
        {"listen tcp :80 accept-proxy from", "4:17", "accept-proxy from CIDR"},
        {"listen tcp :80 accept-proxy to 10.0.0.0/8", "4:30", "one of: from"},
        {"listen tcp :80 accept-proxy", "4:17", "accept-proxy from CIDR"},
        {"listen tcp :80 accept from x", "4:17", "unknown word 'accept', accepted here: interface"},
        {"server one 10.0.0.2:80", "4:9", "server 'one' is defined already, at t:3:9"},
        {"server two", "4:2",
         "server NAME HOST[:PORT]|srv:RECORD|unix:PATH [weight 1..256] [priority 1..16] "
         "[maxconn 1..10000000] [backup] [send-proxy v1|v2]"},
        {"server a/b 10.0.0.2:80", "4:9", "1..64 of A-Z a-z"},
        {"server two :80", "4:13", "a server needs a host"},
        {"server two 10.0.0.2:1-2", "4:13", "one port, or none"},
        {"server two 0.0.0.0:80", "4:13", "wildcard"},
        {"server two db..example:80", "4:13", "accepted: 10.0.0.5:5432, [2001:db8::1]:5432, db."},
        {"server two db.example:0", "4:13", "port 0 is outside 1..65535"},
        {"server two db.example:1-2", "4:13", "one port, or none"},
        {"listen tcp 10.0.0.256:80", "4:13", "accepted: 10.0.0.1:5432, [2001:db8::1]:5432, :5432"},
        {"server two unix:x", "4:13", "absolute path of at most 107 bytes"},
        {"server two unix:/x source 10.0.0.9", "4:21", "'source' is of IP addresses"},
        {"server two 10.0.0.2:80 weight 0", "4:32", "weight: 0 is outside 1..256"},
        {"server two 10.0.0.2:80 weight 257", "4:32", "weight: 257 is outside 1..256"},
        {"server two 10.0.0.2:80 weight", "4:25", "a value is missing: 1..256"},
        {"server two 10.0.0.2:80 weight 1 weight 1", "4:34", "'weight' is given twice"},
        {"server two 10.0.0.2:80 wait 1", "4:25", "accepted here: weight, backup"},
        {"server two 10.0.0.2:80 backup backup", "4:32", "'backup' is given twice"},
        {"server two 10.0.0.2:80 backup 1", "4:32", "unknown word '1'"},
        {"server two 10.0.0.2:80 backup weight 0", "4:39", "outside 1..256"},
        {"server two 10.0.0.2:80 maxconn 10000001", "4:33", "outside 1..10000000"},
        {"queue", "4:2", "queue 0..10000000 [timeout 1ms..365d]"},
        {"queue 10000001", "4:8", "outside 0..10000000"},
        {"queue all", "4:8", "not a number in 0..10000000"},
        {"queue 5 timeout", "4:10", "a value is missing: 1ms..365d"},
        {"queue 5 timeout 0s", "4:18", "outside 1ms..365d"},
        {"queue 5 for 1s", "4:10", "accepted here: timeout"},
        {"server two 10.0.0.2:80 maxconn 0", "4:33", "outside 1..10000000"},
        {"server two 10.0.0.2:80 send-proxy", "4:25", "a value is missing: v1, v2"},
        {"listen udp :80\n server two 10.0.0.2:80 send-proxy v1", "5:9", "a line for TCP"},
        {"server two 10.0.0.2:80 send-proxy v3", "4:36", "one of: v1, v2"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        conf_text_refuse(in_service(cases[i].line), cases[i].place, cases[i].fragment);
}

static void test_checks(void **state)
{
    static const struct {
        const char *line;
        const char *place;
        const char *fragment;
    } wrong[] = {
        {"check", "4:2", "check none, or check tcp [interval 1ms..365d]"},
        {"check icmp", "4:8", "none, tcp, http, send, redis, postgres, mysql, dns, exec"},
        {"check tcp interval 0s", "4:21", "outside 1ms..365d"},
        {"check tcp interval", "4:12", "a value is missing: 1ms..365d"},
        {"check tcp fall 0", "4:17", "fall: 0 is outside 1..100"},
        {"check tcp rise 101", "4:17", "rise: 101 is outside 1..100"},
        {"check tcp port 65536", "4:17", "outside 1..65535"},
        {"check tcp every 1s", "4:12",
         "interval, timeout, fall, rise, fast, port, jitter, address, source"},
        {"check tcp jitter 51", "4:19", "jitter: 51 is outside 0..50"},
        {"check tcp jitter", "4:12", "jitter: a value is missing: 0..50"},
        {"check tcp address", "4:12", "address: a value is missing: 10.0.0.5, 2001:db8::5"},
        {"check tcp address 10.0.0.5:80", "4:20", "'10.0.0.5:80': not an address without a port"},
        {"check tcp address db.example", "4:20", "accepted: 10.0.0.5, 2001:db8::5"},
        {"check tcp address 0.0.0.0", "4:20", "a wildcard is no server's address"},
        {"check tcp address 224.0.0.1", "4:20", "a multicast address"},
        {"check tcp source [::1]:80", "4:19", "not an address without a port"},
        {"check tcp source ::", "4:19", "a wildcard"},
        {"check tcp source 127.0.0.1 address ::1", "4:19", "cannot reach 'address', which is IPv6"},
        {"check tcp source 127.0.0.1 source ::1", "4:29", "'source' is given twice"},
        {"check tcp fall 1 fall 2", "4:19", "'fall' is given twice"},
        {"check http", "4:8", "check http /path"},
        {"check http path", "4:13", "must begin with '/'"},
        {"check http / status", "4:15", "status 200-399"},
        {"check http / status 99", "4:22", "100..599"},
        {"check http / status 399-200", "4:22", "100..599"},
        {"check http / interval 1s status 200", "4:27",
         "unknown word 'status', accepted here: status 200-399, host NAME; and behind that "
         "interval"},
        {"check redis master", "4:14", "accepted here: role master|replica"},
        {"check postgres role primary", "4:17", "accepted here: user NAME"},
        {"check mysql user a password b", "4:21", "unknown word 'password', accepted here: user"},
        {"check send x", "4:13", "check send TEXT expect TEXT"},
        {"check http \"/a b\"", "4:13", "1..480 bytes, visible ASCII without blanks"},
        {"check http \"/a\\x00b\"", "4:13", "must begin with '/'"},
        {"check http / host", "4:15", "host NAME"},
        {"check http / host \"a\\r\"", "4:20", "1..253 bytes, visible ASCII"},
        {"check http / host \"\"", "4:20", "1..253 bytes, visible ASCII"},
        {"check http / status 200 status 201", "4:26", "'status' is given twice"},
        {"check http / host a host b", "4:22", "'host' is given twice"},
        {"check send hex", "4:13", "hex DIGITS"},
        {"check send hex 0 expect x", "4:17", "hex: '0' is not pairs of hexadecimal digits"},
        {"check send hex 0g expect x", "4:17", "hex: '0g' is not pairs"},
        {"check send hex 00 expect hex a", "4:31", "hex: 'a' is not pairs"},
        {"check send x expect hex", "4:22", "hex DIGITS"},
        {"check send x expect regex", "4:22", "regex EXPRESSION"},
        {"check send x expect regex \"\"", "4:28", "regex: accepted: 1..480 bytes"},
        {"check send x expect regex \"a\\x00\"", "4:28", "regex: accepted: 1..480 bytes"},
        {"check send x expect regex \"(a\"", "4:28", "regex: '(a': Unmatched ( or \\("},
        {"check send x expect regex \"(a)\\\\1\"", "4:28", "refers back to a group"},
        {"check send x expect regex \"(a{90}){90}\"", "4:28", "multiply to more than 4096"},
        {"check send x want y", "4:15", "one of: expect"},
        {"check redis role slave", "4:19", "one of: master, replica"},
        {"check postgres user", "4:17", "user NAME"},
        {"check postgres user \"\"", "4:22", "user: '': accepted: 1..128 bytes without NUL"},
        {"check mysql user \"a\\x00\"", "4:19", "accepted: 1..128 bytes without NUL"},
        {"check mysql name x", "4:14", "name"},
        {"check dns 10.0.0.1", "4:12", "not a host name"},
        {"check exec", "4:8", "check exec /path/to/program"},
        {"check exec bin/true", "4:13", "must begin with '/'"},
        {"check exec \"/bin/sh\\x00\"", "4:13", "must begin with '/'"},
        {"check exec /nowhere/x", "4:13", "check exec: '/nowhere/x': No such file or directory"},
        {"check exec /bin", "4:13", "check exec: '/bin': not a file"},
        {"check exec /bin/sh/x", "4:13", "Not a directory"},
        {"check exec /etc/passwd", "4:13", "not executable, by nobody; chmod +x"},
        {"check exec /bin/sh -c", "4:21", "unknown word '-c'"},
        {"check none fall 1", "4:13", "check none takes no options"},
        {"check tcp port 0", "4:17", "port: 0 is outside 1..65535"},
        {"check tcp rise 0", "4:17", "rise: 0 is outside 1..100"},
        {"check tcp fall 101", "4:17", "fall: 101 is outside 1..100"},
        {"check tcp fast 2001ms", "4:17", "fast: 2001ms is outside 1ms..2s, the interval"},
        {"check tcp fast 11s port 1 interval 10s", "4:17", "fast: 11s is outside 1ms..10s"},
        {"check http /fast fast 3s", "4:24", "fast: 3s is outside 1ms..2s"},
        {"check tcp\n check none", "5:2", "'check' is given twice"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        conf_text_refuse(in_service(wrong[i].line), wrong[i].place, wrong[i].fragment);
}

static void test_check_values(void **state)
{
    static const struct {
        const char *line;
        struct conf_check check;
    } cases[] = {
        {"check tcp",
         {.kind = CONF_CHECK_TCP,
          .interval_ms = 2000,
          .timeout_ms = 1000,
          .fast_ms = 500,
          .fall = 3,
          .rise = 2}},
        {"check tcp interval 8s timeout 5s fall 7 rise 9 fast 3s port 81",
         {.kind = CONF_CHECK_TCP,
          .interval_ms = 8000,
          .timeout_ms = 5000,
          .fast_ms = 3000,
          .fall = 7,
          .rise = 9,
          .port = 81}},
        {"check tcp interval 200ms",
         {.kind = CONF_CHECK_TCP,
          .interval_ms = 200,
          .timeout_ms = 1000,
          .fast_ms = 100,
          .fall = 3,
          .rise = 2}},
        {"check tcp interval 50ms",
         {.kind = CONF_CHECK_TCP,
          .interval_ms = 50,
          .timeout_ms = 1000,
          .fast_ms = 50,
          .fall = 3,
          .rise = 2}},
        {"check tcp interval 50ms fast 1ms",
         {.kind = CONF_CHECK_TCP,
          .interval_ms = 50,
          .timeout_ms = 1000,
          .fast_ms = 1,
          .fall = 3,
          .rise = 2}},
        {"check none",
         {.kind = CONF_CHECK_NONE,
          .interval_ms = 2000,
          .timeout_ms = 1000,
          .fast_ms = 500,
          .fall = 3,
          .rise = 2}},
        {"tries 1",
         {.kind = CONF_CHECK_AUTO,
          .interval_ms = 2000,
          .timeout_ms = 1000,
          .fast_ms = 500,
          .fall = 3,
          .rise = 2}},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct conf_check *wanted = &cases[i].check;
        const struct conf_check *found;
        struct conf conf;

        conf_text_accept(in_service(cases[i].line), &conf);
        found = &conf.services[0].check;
        assert_int_equal(found->kind, wanted->kind);
        assert_int_equal(found->interval_ms, wanted->interval_ms);
        assert_int_equal(found->timeout_ms, wanted->timeout_ms);
        assert_int_equal(found->fast_ms, wanted->fast_ms);
        assert_int_equal(found->fall, wanted->fall);
        assert_int_equal(found->rise, wanted->rise);
        assert_int_equal(found->port, wanted->port);
        conf_free(&conf);
    }
}

/* `line` stands at 4:2 of a service that listens on UDP only. */
static const char *in_udp_service(const char *line)
{
    static char text[8192];

    snprintf(text, sizeof(text),
             "service x {\n listen udp :7000\n server one 10.0.0.1:80\n %s\n}\n", line);
    return text;
}

static void check_text(const char *found, size_t n_found, const char *wanted, size_t n_wanted)
{
    assert_int_equal(!found, !wanted);
    assert_int_equal(n_found, n_wanted);
    if (wanted)
        assert_memory_equal(found, wanted, n_wanted + 1);
}

static void test_udp_checks(void **state)
{
    static const struct {
        const char *line;
        enum conf_check_kind kind;
        const char *send;
        size_t n_send;
        const char *expect;
        size_t n_expect;
    } cases[] = {
        {"check send \"a\\x00b\" expect \"\\x00\"", CONF_CHECK_SEND, "a\0b", 3, "\0", 1},
        {"check send PING expect \"\" fall 1", CONF_CHECK_SEND, "PING", 4, "", 0},
        {"check dns example.org port 53", CONF_CHECK_DNS, "example.org", 11, NULL, 0},
        {"check tcp", CONF_CHECK_TCP, NULL, 0, NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct conf_check *found;
        struct conf conf;

        conf_text_accept(in_udp_service(cases[i].line), &conf);
        found = &conf.services[0].check;
        assert_int_equal(found->kind, cases[i].kind);
        check_text(found->send, found->n_send, cases[i].send, cases[i].n_send);
        check_text(found->expect, found->n_expect, cases[i].expect, cases[i].n_expect);
        conf_free(&conf);
    }
    conf_text_refuse(in_udp_service("check send \"\" expect x"), "4:13",
                     "0 bytes is no datagram, accepted in a service that listens on UDP only: "
                     "1..480");
    conf_text_refuse(in_udp_service("check dns a..b"), "4:12", "not a host name");
}

static const struct conf_check *check_of(struct conf *conf, const char *line)
{
    conf_text_accept(in_service(line), conf);
    return &conf->services[0].check;
}

/* Kinds that speak TCP, and what the words of each become. */
static void test_dialogues(void **state)
{
    const struct conf_check *check;
    struct conf conf;

    (void)state;
    check = check_of(&conf, "check http /primary port 8008");
    assert_int_equal(check->kind, CONF_CHECK_HTTP);
    check_text(check->send, check->n_send, "/primary", 8);
    assert_null(check->host);
    assert_int_equal(check->status_min, 200);
    assert_int_equal(check->status_max, 399);
    conf_free(&conf);
    check = check_of(&conf, "check http / status 100-599 host db.example:80 fall 1");
    assert_string_equal(check->host, "db.example:80");
    assert_int_equal(check->status_min, 100);
    assert_int_equal(check->status_max, 599);
    assert_int_equal(check->fall, 1);
    conf_free(&conf);
    check = check_of(&conf, "check send hex 000aFf expect regex \"^(a|b)+\" rise 1");
    check_text(check->send, check->n_send, "\0\n\xff", 3);
    check_text(check->expect, check->n_expect, "^(a|b)+", 7);
    assert_true(check->is_regex);
    conf_free(&conf);
    check = check_of(&conf, "check send \"\" expect hex \"\"");
    check_text(check->send, check->n_send, "", 0);
    check_text(check->expect, check->n_expect, "", 0);
    assert_false(check->is_regex);
    conf_free(&conf);
    check = check_of(&conf, "check redis");
    assert_int_equal(check->kind, CONF_CHECK_REDIS);
    assert_int_equal(check->role, CONF_ROLE_ANY);
    conf_free(&conf);
    check = check_of(&conf, "check redis role master");
    assert_int_equal(check->role, CONF_ROLE_MASTER);
    conf_free(&conf);
    check = check_of(&conf, "check redis role replica timeout 2s");
    assert_int_equal(check->role, CONF_ROLE_REPLICA);
    assert_int_equal(check->timeout_ms, 2000);
    conf_free(&conf);
    check = check_of(&conf, "check dns a.b");
    assert_int_equal(check->kind, CONF_CHECK_DNS);
    conf_free(&conf);
}

static void test_check_addresses(void **state)
{
    const struct conf_check *check;
    struct addr wanted;
    struct conf conf;

    (void)state;
    check = check_of(&conf, "check tcp");
    assert_int_equal(check->address.sa.sa_family, AF_UNSPEC);
    assert_int_equal(check->source.sa.sa_family, AF_UNSPEC);
    assert_false(check->has_jitter);
    conf_free(&conf);
    check = check_of(&conf, "check mysql address [2001:db8::5] source 2001:db8::6 jitter 0");
    assert_int_equal(addr_parse("2001:db8::5", &wanted), 0);
    assert_true(addr_equal(&check->address, &wanted));
    assert_int_equal(addr_parse("2001:db8::6", &wanted), 0);
    assert_true(addr_equal(&check->source, &wanted));
    assert_true(check->has_jitter);
    assert_int_equal(check->jitter, 0);
    conf_free(&conf);
}

/* As a user who is not root, which the text names. */
static void test_programs(void **state)
{
    char text[16384];
    char path[CONF_FILE_MAX + 2];
    struct conf conf;

    (void)state;
    snprintf(text, sizeof(text), "%suser lb4\n", in_service("check exec /bin/sh timeout 9s"));
    conf_text_accept(text, &conf);
    assert_int_equal(conf.services[0].check.kind, CONF_CHECK_EXEC);
    assert_int_equal(conf.services[0].check.timeout_ms, 9000);
    check_text(conf.services[0].check.send, conf.services[0].check.n_send, "/bin/sh", 7);
    assert_int_equal(conf.services[0].check_place.column, 8);
    conf_free(&conf);
    snprintf(text, sizeof(text), "%suser lb4\n", in_udp_service("check exec /bin/sh"));
    conf_text_accept(text, &conf);
    conf_free(&conf);
    memset(path, '/', sizeof(path));
    path[CONF_FILE_MAX + 1] = '\0';
    snprintf(text, sizeof(text), "check exec %s", path);
    conf_text_refuse(in_service(text), "4:13", "a path of 1024 bytes, accepted: 2..1023");
}

static void test_programs_of_root(void **state)
{
    static const char *const users[] = {"", "user root\n", "user 0\n", "user root:daemon\n"};
    char text[16384];

    (void)state;
    if (geteuid() != 0)
        skip();
    for (size_t i = 0; i < sizeof(users) / sizeof(users[0]); i++) {
        snprintf(text, sizeof(text), "%s%s", in_service("check exec /bin/sh"), users[i]);
        conf_text_refuse(text, "4:8", "programs are never run as root; name another user");
    }
}

static void test_length_of_texts(void **state)
{
    char line[2048];
    char text[CONF_TEXT_MAX + 2];
    struct conf conf;

    (void)state;
    memset(text, 'a', sizeof(text));
    text[CONF_TEXT_MAX] = '\0';
    snprintf(line, sizeof(line), "check send %s expect %s", text, text);
    conf_text_accept(in_udp_service(line), &conf);
    conf_free(&conf);
    memcpy(text + CONF_TEXT_MAX, "a", 2);
    snprintf(line, sizeof(line), "check send %s expect x", text);
    conf_text_refuse(in_udp_service(line), "4:13", "send: a text of 481 bytes");
    snprintf(line, sizeof(line), "check send x expect %s", text);
    conf_text_refuse(in_udp_service(line), "4:22", "expect: a text of 481 bytes");
}

static void test_udp_values(void **state)
{
    const struct conf_service *service;
    struct conf conf;

    (void)state;
    conf_text_accept(in_udp_service("udp-on-down keep\n udp-responses 0\n udp-sessions 7"), &conf);
    service = &conf.services[0];
    assert_int_equal(service->listens[0].transport, CONF_UDP);
    assert_int_equal(conf_transports(service), CONF_UDP);
    assert_true(service->udp.keeps_on_down);
    assert_true(service->udp.has_responses);
    assert_int_equal(service->udp.responses, 0);
    assert_int_equal(service->udp.max_sessions, 7);
    conf_free(&conf);
    conf_text_accept(in_udp_service("listen both :80\n udp-on-down rebind"), &conf);
    service = &conf.services[0];
    assert_int_equal(service->listens[1].transport, CONF_TCP_AND_UDP);
    assert_int_equal(conf_transports(service), CONF_TCP_AND_UDP);
    assert_false(service->udp.keeps_on_down);
    assert_int_equal(service->udp.responses, CONF_UDP_ANY_RESPONSES);
    assert_int_equal(service->udp.max_sessions, 0);
    conf_free(&conf);
}

/* Words that are stored, and nothing else. */
static void test_server_values(void **state)
{
    const struct conf_server *server;
    struct conf conf;

    (void)state;
    conf_text_accept(in_service("server two db.example:5432 backup weight 9"), &conf);
    server = &conf.services[0].servers[1];
    assert_string_equal(server->host, "db.example");
    assert_int_equal(addr_port(&server->addr), 5432);
    assert_int_equal(server->weight, 9);
    assert_true(server->is_backup);
    assert_null(conf.services[0].servers[0].host);
    assert_false(conf.services[0].servers[0].is_backup);
    conf_free(&conf);
    conf_text_accept(in_service("balance random"), &conf);
    assert_int_equal(conf.services[0].balance, CONF_BALANCE_RANDOM);
    conf_free(&conf);
}

/* What is said about servers that go down and come back. */
static void test_down(void **state)
{
    struct conf conf;

    (void)state;
    conf_text_accept(in_service("tries 3"), &conf);
    assert_int_equal(conf.services[0].on_down.kind, CONF_FAREWELL_KEEP);
    assert_int_equal(conf.services[0].all_down, CONF_ALL_DOWN_REFUSE);
    assert_int_equal(conf.services[0].evict.n_failures, 0);
    assert_int_equal(conf.services[0].slow_start_ms, 0);
    assert_int_equal(conf.services[0].servers[0].priority, 1);
    conf_free(&conf);
    conf_text_accept(
        in_service("on-down drain 9s\n on-up reset\n all-down hold 5s\n slow-start 2m\n"
                   " evict after 5 failures in 10s\n"
                   " server two 10.0.0.2:80 priority 16"),
        &conf);
    assert_int_equal(conf.services[0].on_down.kind, CONF_FAREWELL_DRAIN);
    assert_int_equal(conf.services[0].on_down.drain_ms, 9000);
    assert_int_equal(conf.services[0].on_up.kind, CONF_FAREWELL_RESET);
    assert_int_equal(conf.services[0].all_down, CONF_ALL_DOWN_HOLD);
    assert_int_equal(conf.services[0].hold_ms, 5000);
    assert_int_equal(conf.services[0].hold_max, 1000);
    assert_int_equal(conf.services[0].slow_start_ms, 120000);
    assert_int_equal(conf.services[0].evict.n_failures, 5);
    assert_int_equal(conf.services[0].evict.within_ms, 10000);
    assert_int_equal(conf.services[0].evict.for_ms, 30000);
    assert_int_equal(conf.services[0].servers[1].priority, 16);
    conf_free(&conf);
    conf_text_accept(in_service("all-down hold 9s max 7\n evict after 1 failures in 1s for 2s"),
                     &conf);
    assert_int_equal(conf.services[0].hold_max, 7);
    assert_int_equal(conf.services[0].evict.for_ms, 2000);
    conf_free(&conf);
    conf_text_accept(in_service("queue 0 timeout 2s\n server two 10.0.0.2:80 maxconn 10000000"),
                     &conf);
    assert_int_equal(conf.services[0].queue.max, 0);
    assert_int_equal(conf.services[0].queue.timeout_ms, 2000);
    assert_int_equal(conf.services[0].servers[0].maxconn, 0);
    assert_int_equal(conf.services[0].servers[1].maxconn, 10000000);
    conf_free(&conf);
    conf_text_accept(in_service("server two 10.0.0.2:80 maxconn 1"), &conf);
    assert_int_equal(conf.services[0].queue.max, 1000);
    assert_int_equal(conf.services[0].queue.timeout_ms, 5000);
    conf_free(&conf);
}

static void test_affinity(void **state)
{
    const char *some = "defaults {\n affinity source 9s prefix6 64\n}\n"
                       "service a {\n listen tcp :1\n server s 10.0.0.1:80\n affinity off\n}\n"
                       "service b {\n listen tcp :2\n server s 10.0.0.1:80\n}\n";
    struct conf conf;

    (void)state;
    conf_text_accept(in_service("tries 3"), &conf);
    assert_int_equal(conf.services[0].affinity.ms, 0);
    conf_free(&conf);
    conf_text_accept(in_service("affinity source 60s"), &conf);
    assert_int_equal(conf.services[0].affinity.ms, 60000);
    assert_int_equal(conf.services[0].affinity.prefix4, 32);
    assert_int_equal(conf.services[0].affinity.prefix6, 128);
    conf_free(&conf);
    conf_text_accept(some, &conf);
    assert_int_equal(conf.services[0].affinity.ms, 0);
    assert_int_equal(conf.services[1].affinity.ms, 9000);
    assert_int_equal(conf.services[1].affinity.prefix6, 64);
    conf_free(&conf);
}

static void test_what_services_say(void **state)
{
    static const struct {
        const char *line;
        const char *place;
        const char *fragment;
    } wrong[] = {
        {"maxconn 0", "4:10", "outside 1..10000000"},
        {"maxconn auto", "4:10", "not a number in 1..10000000"},
        {"on-down drain", "4:10", "an argument is missing: 1ms..365d"},
        {"on-down drain 0s", "4:16", "outside 1ms..365d"},
        {"on-down keep 1s", "4:15", "takes no argument"},
        {"on-down x", "4:10", "one of: keep, reset, drain"},
        {"udp-on-down x", "4:14", "one of: rebind, keep"},
        {"all-down hold", "4:11", "an argument is missing: 1ms..365d"},
        {"all-down hold 1s max 0", "4:23", "outside 1..10000000"},
        {"all-down hold 1s min 0", "4:19", "accepted here: max"},
        {"slow-start 5", "4:13", "the unit is needed"},
        {"slow-start 0s", "4:13", "outside 1ms..365d"},
        {"all-down x", "4:11", "one of: refuse, any, hold"},
        {"all-down any 1s", "4:15", "takes no argument"},
        {"all-down hold 1s max", "4:19", "a value is missing: 1..10000000"},
        {"on-up drain", "4:8", "an argument is missing: 1ms..365d"},
        {"on-up x", "4:8", "one of: keep, reset, drain"},
        {"on-up reset 1s", "4:14", "takes no argument"},
        {"evict after 5", "4:2", "evict after 1..10000 failures in 1ms..365d [for 1ms..365d]"},
        {"evict if 5 failures in 10s", "4:8", "'if' stands where 'after'"},
        {"evict after 0 failures in 10s", "4:14", "outside 1..10000"},
        {"evict after 10001 failures in 10s", "4:14", "outside 1..10000"},
        {"evict after 5 times in 10s", "4:16", "evict: 'times' stands where 'failures'"},
        {"evict after 5 failures within 10s", "4:25", "'within' stands where 'in'"},
        {"evict after 5 failures in 10", "4:28", "the unit is needed"},
        {"evict after 5 failures in 10s for", "4:32", "a value is missing: 1ms..365d"},
        {"evict after 5 failures in 10s for 0s", "4:36", "outside 1ms..365d"},
        {"evict after 5 failures in 10s or 5s", "4:32", "accepted here: for"},
        {"server two 10.0.0.2:80 priority 0", "4:34", "outside 1..16"},
        {"server two 10.0.0.2:80 priority 17", "4:34", "outside 1..16"},
        {"server two 10.0.0.2:80 priority 2 backup", "4:9", "a backup comes after all priorities"},
        {"allow 10.0.0.0/33", "4:8", "outside 0..32"},
        {"deny everybody", "4:7", "accepted: 10.0.0.0/8"},
        {"limit 5", "4:8", "one of: per-source"},
        {"limit per-source 0", "4:19", "outside 1..10000000"},
        {"limit per-source 5 prefix4 33", "4:29", "outside 1..32"},
        {"limit per-source 5 prefix6 0", "4:29", "outside 1..128"},
        {"limit per-source 5 prefix 5", "4:21", "accepted here: prefix4, prefix6"},
        {"rate 5", "4:7", "1..1000000 and its unit, as 10/s, 10/m, 10/h"},
        {"rate 0/s", "4:7", "1..1000000 and its unit"},
        {"rate 1000001/s", "4:7", "1..1000000 and its unit"},
        {"rate 1/d", "4:7", "1..1000000 and its unit"},
        {"rate 1/sec", "4:7", "1..1000000 and its unit"},
        {"rate /s", "4:7", "1..1000000 and its unit"},
        {"rate per-source", "4:2", "rate per-source 1..1000000/s|m|h [burst 1..1000000]"},
        {"rate per-source 1/s burst 0", "4:28", "outside 1..1000000"},
        {"rate 1/s bursts 2", "4:11", "accepted here: burst"},
        {"rate 1/s\n rate 2/s", "5:2", "'rate' is given twice"},
        {"rate datagrams per-client 1/s", "4:17", "where 'per-source' is wanted"},
        {"rate datagrams per-source 1/s", "4:2", "the service has no UDP listener"},
        {"ban after 3 refused in 1m", "4:2", "ban after 1..10000 refused in 1ms..365d for 1ms"},
        {"ban after 0 refused in 1m for 1h", "4:12", "outside 1..10000"},
        {"ban after 3 refusals in 1m for 1h", "4:14", "where 'refused' is wanted"},
        {"ban after 3 refused in 0s for 1h", "4:25", "outside 1ms..365d"},
        {"affinity source x", "4:18", "not a duration"},
        {"affinity", "4:2", "affinity source 1ms..365d [prefix4 1..32] [prefix6 1..128]"},
        {"affinity source", "4:11", "an argument is missing: 1ms..365d"},
        {"affinity source 0s", "4:18", "outside 1ms..365d"},
        {"affinity source 1s prefix4 33", "4:29", "outside 1..32"},
        {"affinity source 1s prefix4 0", "4:29", "outside 1..32"},
        {"affinity source 1s prefix6 129", "4:29", "outside 1..128"},
        {"affinity source 1s prefix4", "4:21", "a value is missing: 1..32"},
        {"affinity source 1s prefix5 3", "4:21", "accepted here: prefix4, prefix6"},
        {"affinity off 1s", "4:15", "takes no argument"},
        {"affinity cookie 1s", "4:11", "one of: source, off"},
        {"udp-sessions -1", "4:15", "not a number in 1..10000000"},
        {"udp-sessions 0", "4:15", "outside 1..10000000"},
        {"udp-responses 10000001", "4:16", "outside 0..10000000"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        conf_text_refuse(in_service(wrong[i].line), wrong[i].place, wrong[i].fragment);
}

static void test_names(void **state)
{
    static const struct {
        const char *line;
        const char *place;
        const char *fragment;
    } wrong[] = {
        {"resolve 0s", "4:10", "resolve: 0s is outside 1s..365d"},
        {"resolve 999ms", "4:10", "resolve: 999ms is outside 1s..365d"},
        {"resolve 366d", "4:10", "outside 1s..365d"},
        {"resolve 5", "4:10", "'5' is neither 'off' nor a duration in 1s..365d"},
        {"resolve", "4:2", "resolve 1s..365d, or resolve off"},
        {"server y srv:", "4:11", "not the name of SRV records"},
        {"server y srv:.", "4:11", "not the name of SRV records"},
        {"server y srv:_pg._tcp.x:5", "4:11", "without a port"},
        {"server y srv:10.0.0.1", "4:11", "accepted: srv:_pg._tcp.db.example"},
        {"server y srv:a..b", "4:11", "not the name of SRV records"},
        {"server y srv:_a.x backup weight 2", "4:27",
         "accepted behind srv:NAME: backup, priority, maxconn"},
    };
    struct conf conf;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        conf_text_refuse(in_service(wrong[i].line), wrong[i].place, wrong[i].fragment);
    conf_text_accept(in_service("resolve off\nserver y srv:_pg._tcp.x.example. backup"), &conf);
    assert_true(conf.services[0].resolve_ms == CONF_RESOLVE_OFF);
    assert_true(conf.services[0].servers[1].is_srv);
    assert_true(conf.services[0].servers[1].is_backup);
    assert_string_equal(conf.services[0].servers[1].host, "_pg._tcp.x.example");
    conf_free(&conf);
    conf_text_accept(
        "defaults {\nresolve 7s\n}\nservice a {\nlisten tcp :1\nserver x y.example\n}\n"
        "service b {\nlisten tcp :2\nresolve 9s\nserver x y.example\n}\n",
        &conf);
    assert_int_equal(conf.services[0].resolve_ms, 7000);
    assert_int_equal(conf.services[1].resolve_ms, 9000);
    assert_false(conf.services[0].servers[0].is_srv);
    conf_free(&conf);
}

static void test_for_operators(void **state)
{
    char text[ADDR_TEXT_MAX];
    static struct conf_report report;
    struct conf conf;

    (void)state;
    assert_int_equal(conf_text_read(at_top("admin unix:/a\nhttp :1"), &conf, &report), 0);
    assert_int_equal(report.n_warnings, 0);
    assert_string_equal(conf.admin, "unix:/a");
    assert_string_equal(addr_format(&conf.http, text), "127.0.0.1:1");
    assert_int_equal(conf.http_place.line, 2);
    assert_int_equal(conf.http_place.column, 6);
    conf_free(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_refused_at_top),
        cmocka_unit_test(test_refused_in_service),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_programs),
        cmocka_unit_test(test_programs_of_root),
        cmocka_unit_test(test_check_values),
        cmocka_unit_test(test_udp_checks),
        cmocka_unit_test(test_length_of_texts),
        cmocka_unit_test(test_udp_values),
        cmocka_unit_test(test_server_values),
        cmocka_unit_test(test_down),
        cmocka_unit_test(test_affinity),
        cmocka_unit_test(test_what_services_say),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_for_operators),
        cmocka_unit_test(test_dialogues),
        cmocka_unit_test(test_check_addresses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
