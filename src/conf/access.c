#include "lb4/conf/access.h"

#include <stdlib.h>
#include <string.h>

#include "lb4/base/scope.h"
#include "lb4/conf/prefix_list.h"
#include "lb4/conf/unix_ends.h"

/* --- life ------------------------------------------------------------------------------------- */

struct conf_access_rule *conf_access_add(struct conf_access_rules *rules)
{
    if ((rules->n & (rules->n - 1)) == 0) {
        size_t cap = rules->n ? 2 * rules->n : 1;
        void *moved = reallocarray(rules->rules, cap, sizeof(*rules->rules));

        if (!moved)
            return NULL;
        rules->rules = moved;
    }
    rules->rules[rules->n] = (struct conf_access_rule){0};
    return &rules->rules[rules->n++];
}

void conf_access_free(struct conf_access_rules *rules)
{
    prefix_map_release(rules->map);
    for (size_t i = 0; !rules->is_default && i < rules->n; i++)
        free(rules->rules[i].word);
    if (!rules->is_default)
        free(rules->rules);
    *rules = (struct conf_access_rules){0};
}

/* --- what they say ---------------------------------------------------------------------------- */

static size_t count_of(const struct conf_access_rule *rule)
{
    return rule->list ? rule->list->n : 1;
}

size_t conf_access_count(const struct conf_access_rules *rules)
{
    size_t n = 0;

    for (size_t i = 0; i < rules->n; i++)
        n += count_of(&rules->rules[i]);
    return n;
}

static bool list_has(const struct conf_prefix_list *list, const struct addr *addr,
                     uint32_t *ret_line)
{
    for (size_t i = 0; i < list->n; i++) {
        if (prefix_has(&list->prefixes[i], addr)) {
            *ret_line = list->lines[i];
            return true;
        }
    }
    return false;
}

static bool rule_has(const struct conf_access_rule *rule, const struct addr *addr,
                     uint32_t *ret_line)
{
    if (rule->list)
        return list_has(rule->list, addr, ret_line);
    return rule->is_all || prefix_has(&rule->prefix, addr);
}

const struct conf_access_rule *conf_access_find(const struct conf_access_rules *rules,
                                                const struct addr *addr, uint32_t *ret_line)
{
    *ret_line = 0;
    for (size_t i = 0; i < rules->n; i++)
        if (rule_has(&rules->rules[i], addr, ret_line))
            return &rules->rules[i];
    return NULL;
}

bool conf_access_allows_others(const struct conf_access_rules *rules)
{
    for (size_t i = 0; i < rules->n; i++)
        if (rules->rules[i].allows)
            return false;
    return true;
}

/* --- checking --------------------------------------------------------------------------------- */

static struct prefix_map *compile(const struct conf_access_rules *rules)
{
    scope_free struct prefix_rule *list = calloc(rules->n + 1, sizeof(*list));

    if (!list)
        return NULL;
    for (size_t i = 0; i < rules->n; i++) {
        const struct conf_access_rule *rule = &rules->rules[i];

        list[i] = (struct prefix_rule){
            .allows = rule->allows,
            .is_all = rule->is_all,
            .prefixes = rule->list ? rule->list->prefixes : &rule->prefix,
            .n_prefixes = rule->is_all ? 0 : count_of(rule),
        };
    }
    return prefix_map_new(list, rules->n, conf_access_allows_others(rules));
}

/* Behind `all` nothing is looked at. */
static void warn_unreached(const struct conf_access_rules *rules, struct conf_report *report)
{
    char text[ACCESS_RULE_TEXT_MAX];

    for (size_t i = 0; i + 1 < rules->n; i++) {
        const struct conf_access_rule *next = &rules->rules[i + 1];

        if (!rules->rules[i].is_all)
            continue;
        conf_report_warn(report, &next->place,
                         "%s %.60s: never looked at, as '%s all' comes before it",
                         next->allows ? "allow" : "deny", conf_access_text(next, text),
                         rules->rules[i].allows ? "allow" : "deny");
        return;
    }
}

static bool judge_numbers(const struct conf_access_rules *rules, struct conf_report *report)
{
    size_t n = 0;

    for (size_t i = 0; i < rules->n; i++) {
        const struct conf_access_rule *rule = &rules->rules[i];

        n += count_of(rule);
        if (n <= CONF_PREFIXES_MAX)
            continue;
        conf_report_error(report, &rule->place, "%s: more than %d networks in one service",
                          rule->allows ? "allow" : "deny", CONF_PREFIXES_MAX);
        return false;
    }
    return true;
}

/* After an error, what was read may lack rules that decide. Clients of a Unix socket are not asked.
 */
static void check_rules(struct conf_access_rules *rules, bool has_unix, struct conf_report *report)
{
    if (rules->n == 0 || !judge_numbers(rules, report) || report->n_errors > 0)
        return;
    warn_unreached(rules, report);
    rules->map = compile(rules);
    if (!rules->map)
        conf_report_error(report, &rules->rules[0].place, "out of memory");
    else if (!has_unix && prefix_map_allows_nobody(rules->map))
        conf_report_warn(report, &rules->rules[0].place, "allow and deny let nobody in");
}

static void take_default(struct conf_access_rules *rules, const struct conf_access_rules *from)
{
    enum conf_refuse refuse = rules->refuse ? rules->refuse : from->refuse;

    if (rules->n == 0 && from->n > 0) {
        *rules = *from;
        rules->is_default = true;
        prefix_map_hold(rules->map);
    }
    rules->refuse = refuse;
}

void conf_access_check(struct conf *conf, struct conf_report *report)
{
    struct conf_access_rules *defaults = &conf->default_rules;

    if (defaults->refuse == CONF_REFUSE_UNSET)
        defaults->refuse = CONF_REFUSE_RESET;
    check_rules(defaults, false, report);
    for (size_t i = 0; i < conf->n_services; i++) {
        struct conf_access_rules *rules = &conf->services[i].rules;

        check_rules(rules, conf_has_unix_listener(&conf->services[i]), report);
        take_default(rules, defaults);
    }
}

/* --- text ------------------------------------------------------------------------------------- */

const char *conf_access_text(const struct conf_access_rule *rule,
                             char text[static ACCESS_RULE_TEXT_MAX])
{
    char prefix[PREFIX_TEXT_MAX];

    if (rule->word)
        snprintf(text, ACCESS_RULE_TEXT_MAX, "%s", rule->word);
    else
        snprintf(text, ACCESS_RULE_TEXT_MAX, "%s",
                 rule->is_all ? "all" : prefix_format(&rule->prefix, prefix));
    return text;
}

const char *conf_refuse_word(enum conf_refuse refuse)
{
    switch (refuse) {
    case CONF_REFUSE_UNSET:
    case CONF_REFUSE_RESET:
        return "reset";
    case CONF_REFUSE_CLOSE:
        return "close";
    case CONF_REFUSE_SILENT:
        return "silent";
    }
    return "?";
}

/* A path may hold anything. */
static void print_quoted(const char *text, FILE *stream)
{
    fputc('"', stream);
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;

        if (byte == '"' || byte == '\\')
            fprintf(stream, "\\%c", byte);
        else if (byte < 0x20 || byte >= 0x7f)
            fprintf(stream, "\\x%02x", byte);
        else
            fputc(byte, stream);
    }
    fputs("\"\n", stream);
}

void conf_access_print(const struct conf_access_rules *rules, FILE *stream)
{
    char text[ACCESS_RULE_TEXT_MAX];

    for (size_t i = 0; i < rules->n; i++) {
        const struct conf_access_rule *rule = &rules->rules[i];

        fprintf(stream, "    %s ", rule->allows ? "allow" : "deny");
        if (rule->word)
            print_quoted(rule->word, stream);
        else
            fprintf(stream, "%s\n", conf_access_text(rule, text));
    }
}

/* --- differences ------------------------------------------------------------------------------ */

static bool is_same(const struct conf_access_rule *a, const struct conf_access_rule *b)
{
    if (a->allows != b->allows || a->is_all != b->is_all || !a->list != !b->list)
        return false;
    return a->list ? strcmp(a->list->file, b->list->file) == 0
                   : prefix_compare(&a->prefix, &b->prefix) == 0;
}

static const struct conf_access_rule *find_same(const struct conf_access_rules *rules,
                                                const struct conf_access_rule *like)
{
    for (size_t i = 0; i < rules->n; i++)
        if (is_same(&rules->rules[i], like))
            return &rules->rules[i];
    return NULL;
}

/* Those that `others` has not. A path may hold line ends. */
static long write_missing(char sign, const struct conf_access_rules *rules,
                          const struct conf_access_rules *others, const char *service, FILE *stream)
{
    char text[ACCESS_RULE_TEXT_MAX];
    char quote[CONF_QUOTE_MAX];
    long n = 0;

    for (size_t i = 0; i < rules->n; i++) {
        const struct conf_access_rule *rule = &rules->rules[i];

        if (find_same(others, rule))
            continue;
        conf_access_text(rule, text);
        fprintf(stream, "%c %s %s of %s", sign, rule->allows ? "allow" : "deny",
                rule->word ? conf_quote(text, strlen(text), quote) : text, service);
        if (rule->list)
            fprintf(stream, ": %zu prefixes", rule->list->n);
        fputc('\n', stream);
        n++;
    }
    return n;
}

static bool is_reordered(const struct conf_access_rules *before,
                         const struct conf_access_rules *after)
{
    if (before->n != after->n)
        return true;
    for (size_t i = 0; i < before->n; i++)
        if (!is_same(&before->rules[i], &after->rules[i]))
            return true;
    return false;
}

static long compare_lists(const struct conf_access_rules *before,
                          const struct conf_access_rules *after, const char *service, FILE *stream)
{
    char quote[CONF_QUOTE_MAX];
    long n = 0;

    for (size_t i = 0; i < after->n; i++) {
        const struct conf_access_rule *rule = &after->rules[i];
        const struct conf_access_rule *old = rule->list ? find_same(before, rule) : NULL;
        size_t n_added;
        size_t n_removed;

        if (!old)
            continue;
        prefix_list_compare(old->list, rule->list, &n_added, &n_removed);
        if (n_added == 0 && n_removed == 0)
            continue;
        fprintf(stream, "~ %s %s of %s: +%zu -%zu prefixes\n", rule->allows ? "allow" : "deny",
                conf_quote(rule->word, strlen(rule->word), quote), service, n_added, n_removed);
        n++;
    }
    return n;
}

long conf_access_diff(const struct conf_access_rules *before, const struct conf_access_rules *after,
                      const char *service, FILE *stream)
{
    long n = write_missing('-', before, after, service, stream) +
             write_missing('+', after, before, service, stream);

    if (n == 0 && is_reordered(before, after)) {
        fprintf(stream, "~ order of allow and deny of %s\n", service);
        n++;
    }
    return n + compare_lists(before, after, service, stream);
}
