#include "lb4/conf/handlers.h"

#include <stdio.h>
#include <string.h>

#include "lb4/conf/value.h"

enum { ACCEPTED_TEXT_MAX = 400, WORD_MAX = 24 };

static const struct directive directives[] = {
    /* word, sub, sections, min and max arguments, repeatable, bytes, handler, form */
    {"server", NULL, SECTION_SERVICE, 2, 17, true, false, directive_server,
     "server NAME HOST[:PORT]|srv:RECORD|unix:PATH [weight 1..256] [priority 1..16] "
     "[maxconn 1..10000000] [backup] [send-proxy v1|v2] [source IP[,IP]] [interface NAME] [mark "
     "1..4294967295]"},
    {"listen", NULL, SECTION_SERVICE, 2, LEX_WORDS_MAX - 1, true, false, directive_listen,
     "listen tcp|udp|both ADDRESS [interface NAME] [v6only] [fastopen 1..65535] [defer-accept "
     "1s..1h] [mark 1..4294967295] [mode 0..0777] [accept-proxy from CIDR [CIDR...]]"},
    {"balance", NULL, SECTION_SERVICE, 1, 1, false, false, directive_balance,
     "balance leastconn|roundrobin|source|random"},
    {"check", NULL, SECTION_SERVICE, 1, 32, false, true, directive_check,
     "check none, or check tcp [interval 1ms..365d] [timeout 1ms..365d] [fall 1..100] [rise "
     "1..100] "
     "[fast 1ms..INTERVAL] [port 1..65535] [jitter 0..50] [address IP] [source IP]; in the place "
     "of "
     "tcp: http /PATH [status 100..599] [host NAME], send TEXT expect TEXT, redis [role "
     "master|replica], postgres [user NAME], mysql [user NAME], dns NAME, exec /PROGRAM"},
    {"tries", NULL, SECTION_SERVICE, 1, 1, false, false, directive_tries, "tries 1..100"},
    {"timeout", "connect", SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, false, false,
     directive_timeout, "timeout connect 1ms..365d"},
    {"timeout", "idle", SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, false, false, directive_timeout,
     "timeout idle 1ms..365d"},
    {"timeout", "half-close", SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, false, false,
     directive_timeout, "timeout half-close 1ms..365d"},
    {"timeout", "udp", SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, false, false, directive_timeout,
     "timeout udp 1ms..365d"},

    {"access-log", NULL, SECTION_DEFAULTS | SECTION_SERVICE, 1, 3, false, false,
     directive_access_log, "access-log on [interval 1ms..365d], or access-log off"},

    {"workers", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_workers, "workers auto|1..256"},
    {"cpu-affinity", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_cpu_affinity,
     "cpu-affinity auto|off"},
    {"cpu-scheduling", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_cpu_scheduling,
     "cpu-scheduling auto|inherit"},
    {"io-uring", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_io_uring, "io-uring auto|off"},
    {"maxconn", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_maxconn,
     "maxconn auto|1..10000000"},
    {"pipes", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_pipes, "pipes auto|0..4096"},
    {"splice", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_splice, "splice on|off"},
    {"user", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_user, "user USER[:GROUP]"},
    {"drain", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_drain, "drain 1ms..365d"},
    {"admin", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_admin, "admin unix:/path"},
    {"http", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_http, "http ADDRESS:PORT"},
    {"log", NULL, SECTION_GLOBAL, 1, 2, false, false, directive_log,
     "log stderr, log file PATH, or log syslog [FACILITY]"},
    {"log-format", NULL, SECTION_GLOBAL, 1, 1, false, false, directive_log_format,
     "log-format text|json"},

    {"maxconn", NULL, SECTION_SERVICE, 1, 1, false, false, directive_service_maxconn,
     "maxconn 1..10000000"},
    {"on-down", NULL, SECTION_SERVICE, 1, 2, false, false, directive_on_down,
     "on-down keep|reset|drain 1ms..365d"},
    {"on-up", NULL, SECTION_SERVICE, 1, 2, false, false, directive_on_up,
     "on-up keep|reset|drain 1ms..365d"},
    {"evict", NULL, SECTION_SERVICE, 5, 7, false, false, directive_evict,
     "evict after 1..10000 failures in 1ms..365d [for 1ms..365d]"},
    {"udp-on-down", NULL, SECTION_SERVICE, 1, 1, false, false, directive_udp_on_down,
     "udp-on-down rebind|keep"},
    {"all-down", NULL, SECTION_SERVICE, 1, 4, false, false, directive_all_down,
     "all-down refuse|any|hold 1ms..365d [max 1..10000000]"},
    {"queue", NULL, SECTION_SERVICE, 1, 3, false, false, directive_queue,
     "queue 0..10000000 [timeout 1ms..365d]"},
    {"source", NULL, SECTION_SERVICE, 1, 1, false, false, directive_source,
     "source IP[,IP...]: addresses of this machine, up to 16"},
    {"slow-start", NULL, SECTION_SERVICE, 1, 1, false, false, directive_slow_start,
     "slow-start 1ms..365d"},
    {"resolve", NULL, SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, false, false, directive_resolve,
     "resolve 1s..365d, or resolve off"},
    {"allow", NULL, SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, true, false, directive_access,
     "allow CIDR|all|file:PATH"},
    {"deny", NULL, SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, true, false, directive_access,
     "deny CIDR|all|file:PATH"},
    {"refuse", NULL, SECTION_DEFAULTS | SECTION_SERVICE, 1, 1, false, false, directive_refuse,
     "refuse reset|close|silent"},
    {"limit", "per-source", SECTION_SERVICE, 1, 5, false, false, directive_limit,
     "limit per-source 1..10000000 [prefix4 1..32] [prefix6 1..128]"},
    {"rate", "per-source", SECTION_SERVICE, 1, 3, false, false, directive_rate_source,
     "rate per-source 1..1000000/s|m|h [burst 1..1000000]"},
    {"rate", "datagrams", SECTION_SERVICE, 2, 4, false, false, directive_rate_datagrams,
     "rate datagrams per-source 1..1000000/s|m|h [burst 1..1000000]"},
    {"rate", NULL, SECTION_SERVICE, 1, 3, false, false, directive_rate,
     "rate [per-source|datagrams per-source] 1..1000000/s|m|h [burst 1..1000000]"},
    {"ban", NULL, SECTION_SERVICE, 7, 7, false, false, directive_ban,
     "ban after 1..10000 refused in 1ms..365d for 1ms..365d"},
    {"affinity", NULL, SECTION_DEFAULTS | SECTION_SERVICE, 1, 6, false, false, directive_affinity,
     "affinity source 1ms..365d [prefix4 1..32] [prefix6 1..128], or affinity off"},
    {"udp-responses", NULL, SECTION_SERVICE, 1, 1, false, false, directive_udp_responses,
     "udp-responses 0..10000000"},
    {"udp-sessions", NULL, SECTION_SERVICE, 1, 1, false, false, directive_udp_sessions,
     "udp-sessions 1..10000000"},
};

enum { N_DIRECTIVES = sizeof(directives) / sizeof(directives[0]) };

/* One bit for each row in struct reader. */
_Static_assert(N_DIRECTIVES < 64, "a seen mask has 64 bits, and read.c uses the last for a block");

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein distance; words longer than WORD_MAX are just far away. */
static size_t word_distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t n = strlen(b);

    if (strlen(a) > WORD_MAX || n > WORD_MAX)
        return WORD_MAX;
    for (size_t k = 0; k <= n; k++)
        row[k] = k;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0]++;

        for (size_t k = 0; k < n; k++) {
            size_t changed = diagonal + (a[i] == b[k] ? 0 : 1);

            diagonal = row[k + 1];
            row[k + 1] = min_size(changed, 1 + min_size(row[k], row[k + 1]));
        }
    }
    return row[n];
}

/* The distinct first words of the sections, NULL-terminated. */
static void list_words(unsigned sections, const char *words[static N_DIRECTIVES + 3])
{
    size_t n = 0;

    for (size_t i = 0; i < N_DIRECTIVES; i++) {
        bool is_repeated = n > 0 && strcmp(words[n - 1], directives[i].word) == 0;

        if ((directives[i].sections & sections) && !is_repeated)
            words[n++] = directives[i].word;
    }
    if (sections & SECTION_GLOBAL) {
        words[n++] = "defaults";
        words[n++] = "service";
    }
    words[n] = NULL;
}

static const char *nearest_word(const char *const *words, const char *text)
{
    const char *nearest = NULL;
    size_t best = 3; /* two letters wrong is a slip, three is another word */

    for (; *words; words++) {
        size_t distance = word_distance(text, *words);

        if (distance < best && distance < strlen(*words)) {
            best = distance;
            nearest = *words;
        }
    }
    return nearest;
}

static const char *section_name(unsigned sections)
{
    if (sections & SECTION_GLOBAL)
        return "at the top level";
    return sections & SECTION_DEFAULTS ? "in 'defaults'" : "in a service";
}

static void report_unknown(struct reader *reader, const struct lex_line *line)
{
    const char *words[N_DIRECTIVES + 3] = {NULL};
    char accepted[ACCEPTED_TEXT_MAX];
    char quote[CONF_QUOTE_MAX];
    const char *nearest;

    list_words(reader->accepts, words);
    nearest = nearest_word(words, line->words[0].text);
    reader_error(reader, line, 0, "unknown word %s%s%s%s, accepted %s: %s",
                 conf_quote(line->words[0].text, line->words[0].n_bytes, quote),
                 nearest ? " (did you mean '" : "", nearest ? nearest : "", nearest ? "'?)" : "",
                 section_name(reader->accepts), value_join(words, accepted, sizeof(accepted)));
}

/* The word is known, its second half is missing or wrong. */
static void report_sub(struct reader *reader, const struct lex_line *line)
{
    const char *subs[N_DIRECTIVES + 1];
    char accepted[ACCEPTED_TEXT_MAX];
    size_t n = 0;
    size_t chosen;

    for (size_t i = 0; i < N_DIRECTIVES; i++)
        if (strcmp(directives[i].word, line->words[0].text) == 0)
            subs[n++] = directives[i].sub;
    subs[n] = NULL;
    if (line->n_words > 1)
        value_choice(reader, line, 1, subs, &chosen);
    else
        reader_error(reader, line, 0, "%s: an argument is missing, one of: %s", line->words[0].text,
                     value_join(subs, accepted, sizeof(accepted)));
}

const struct directive *directive_find(struct reader *reader, const struct lex_line *line,
                                       unsigned *ret_index)
{
    const struct directive *elsewhere = NULL;
    bool has_word = false;

    for (unsigned i = 0; i < N_DIRECTIVES; i++) {
        const struct directive *row = &directives[i];

        if (strcmp(row->word, line->words[0].text) != 0)
            continue;
        if (!(row->sections & reader->accepts)) {
            elsewhere = row;
            continue;
        }
        has_word = true;
        if (row->sub && (line->n_words < 2 || strcmp(row->sub, line->words[1].text) != 0))
            continue;
        *ret_index = i;
        return row;
    }
    if (has_word)
        report_sub(reader, line);
    else if (elsewhere)
        reader_error(reader, line, 0, "'%s' is not accepted %s, it belongs %s%s", elsewhere->word,
                     section_name(reader->accepts), section_name(elsewhere->sections),
                     elsewhere->sections & SECTION_DEFAULTS ? " or in a service" : "");
    else
        report_unknown(reader, line);
    return NULL;
}
