#include "lb4/control/doctor_services.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAMES_MAX = 200, NAME_ROOM = CONF_NAME_MAX + 24 }; /* of a list of names, with its NUL */

typedef bool doctor_predicate(const struct doctor_service *service);

static bool has_nobody(const struct doctor_service *service)
{
    return service->n_servers > 0 && service->n_usable == 0;
}

static bool refuses(const struct doctor_service *service)
{
    return has_nobody(service) && service->all_down == CONF_ALL_DOWN_REFUSE;
}

static bool tries_any(const struct doctor_service *service)
{
    return has_nobody(service) && service->all_down == CONF_ALL_DOWN_ANY;
}

static bool holds(const struct doctor_service *service)
{
    return has_nobody(service) && service->all_down == CONF_ALL_DOWN_HOLD;
}

static bool has_lost(const struct doctor_service *service)
{
    return service->n_lost > 0 && service->n_usable > 0;
}

static bool is_unchecked(const struct doctor_service *service)
{
    return service->n_servers > 1 && !service->is_checked;
}

static bool is_single(const struct doctor_service *service)
{
    return service->n_servers == 1;
}

/* A few may be strangers who look for open ports; chosen. */
static bool lacks_headers(const struct doctor_service *service)
{
    return service->takes_headers && service->n_headless >= 10 &&
           service->n_headless > service->n_clients / 2;
}

/* "db, web and 3 others"; returns how many there are. */
static size_t list_those(const struct doctor_facts *facts, doctor_predicate *predicate,
                         char names[static NAMES_MAX])
{
    size_t n = 0;
    size_t n_more = 0;
    size_t at = 0;

    names[0] = '\0';
    for (size_t i = 0; i < facts->n_services; i++) {
        if (!predicate(&facts->services[i]))
            continue;
        if (at + NAME_ROOM < NAMES_MAX)
            at += (size_t)snprintf(names + at, NAMES_MAX - at, "%s%s", n ? ", " : "",
                                   facts->services[i].name);
        else
            n_more++;
        n++;
    }
    if (n_more > 0)
        snprintf(names + at, NAMES_MAX - at, " and %zu other%s", n_more, n_more == 1 ? "" : "s");
    return n;
}

/* One finding for each thing that clients meet (`all-down`). Returns how many services there are.
 */
static size_t find_out(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    static const struct {
        doctor_predicate *predicate;
        const char *limits;
    } cases[] = {
        {refuses, "clients are reset, datagrams dropped"},
        {holds, "clients wait until one is back (all-down hold), datagrams are dropped"},
        {tries_any, "clients are sent to those that are down, as a last resort (all-down any)"},
    };
    char names[NAMES_MAX];
    size_t n_out = 0;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = list_those(facts, cases[i].predicate, names);
        struct doctor_finding *finding;

        n_out += n;
        if (n == 0)
            continue;
        finding = doctor_add(findings, DOCTOR_BAD, "servers", "no server is up: %s", names);
        finding->is_told = true; /* by the prober */
        doctor_limits(finding, "%s", cases[i].limits);
        doctor_lift(finding, "lb4ctl show servers tells why");
    }
    return n_out;
}

static void find_servers(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    char names[NAMES_MAX];
    struct doctor_finding *finding;
    size_t n_out = find_out(facts, findings);

    if (list_those(facts, has_lost, names) > 0) {
        finding = doctor_add(findings, DOCTOR_WARN, "servers", "servers are not up: %s", names);
        finding->is_told = true;
        doctor_limits(finding, "others carry their load");
        doctor_lift(finding, "lb4ctl show servers tells why");
    } else if (n_out == 0) {
        doctor_add(findings, DOCTOR_OK, "servers", "each service has servers that take clients");
    }
}

static void find_unchecked(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    char names[NAMES_MAX];
    struct doctor_finding *finding;

    if (list_those(facts, is_unchecked, names) == 0)
        return;
    finding =
        doctor_add(findings, DOCTOR_NOTE, "checks", "several servers, and no check: %s", names);
    doctor_limits(finding, "a server that is silent is found out by clients, each of which waits");
    doctor_lift(finding, "check tcp in the service, for UDP check dns or check send");
}

static void find_single(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    char names[NAMES_MAX];
    struct doctor_finding *finding;

    if (list_those(facts, is_single, names) == 0)
        return;
    finding = doctor_add(findings, DOCTOR_NOTE, "single", "a single server: %s", names);
    doctor_limits(finding, "nobody takes over when it dies");
    doctor_lift(finding, "another server line, perhaps with `backup`");
}

static void find_headless(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    char names[NAMES_MAX];
    struct doctor_finding *finding;

    if (list_those(facts, lacks_headers, names) == 0)
        return;
    finding = doctor_add(findings, DOCTOR_WARN, "proxy",
                         "most clients come without a right PROXY header: %s", names);
    doctor_limits(finding, "they are turned away");
    doctor_lift(finding,
                "have the balancer in front send it, from a network of accept-proxy, or do "
                "without accept-proxy");
}

static void find_names(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct name_census *names = &facts->names;
    struct doctor_finding *finding;

    if (names->n_unresolved > 0) {
        finding =
            doctor_add(findings, DOCTOR_BAD, "names", "%zu of %zu names not resolved: %.*s: %s",
                       names->n_unresolved, names->n, NAMES_MAX, names->first_unresolved->host,
                       lookup_error_text(names->first_unresolved->error));
        finding->is_told = true;
        doctor_limits(finding, "what they stand for serves nobody");
        doctor_lift(finding, "lb4ctl show names; getent ahosts NAME on this machine");
    }
    if (names->n_failing > 0) {
        finding =
            doctor_add(findings, DOCTOR_WARN, "names", "%zu of %zu names are not found: %.*s: %s",
                       names->n_failing, names->n, NAMES_MAX, names->first_failing->host,
                       lookup_error_text(names->first_failing->error));
        finding->is_told = true;
        doctor_limits(finding, "other addresses are not noticed; the last ones serve");
        doctor_lift(finding, "lb4ctl show names; getent ahosts NAME on this machine");
    }
}

static bool lets_nobody_in(const struct doctor_service *service)
{
    return service->lets_nobody_in;
}

static void find_access(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    char names[NAMES_MAX];
    struct doctor_finding *finding;

    if (list_those(facts, lets_nobody_in, names) > 0) {
        finding =
            doctor_add(findings, DOCTOR_BAD, "access", "allow and deny let nobody in: %s", names);
        doctor_limits(finding, "every client is refused");
        doctor_lift(finding,
                    "allow CIDR, or no deny all, in the service; lb4ctl why SERVICE CLIENT");
    }
    if (facts->lost_list) {
        finding = doctor_add(findings, DOCTOR_WARN, "lists", "a list cannot be read: %.*s",
                             NAMES_MAX, facts->lost_list);
        doctor_limits(finding, "what was read of it counts on; the next reload fails");
        doctor_lift(finding, "make it readable for the user of lb4");
    }
    if (facts->stale_list) {
        finding = doctor_add(findings, DOCTOR_NOTE, "lists", "changed since it was read: %.*s",
                             NAMES_MAX, facts->stale_list);
        doctor_limits(finding, "what it says now does not count yet");
        doctor_lift(finding, "lb4ctl reload");
    }
}

/* --- limits --------------------------------------------------------------------------------------
 */

static bool has_vain_limit(const struct doctor_service *service)
{
    return service->per_source > 0 && service->maxconn > 0 &&
           service->per_source >= service->maxconn;
}

static bool has_full_table(const struct doctor_service *service)
{
    return service->n_shared > 0;
}

/* Behind a balancer that says who its clients are, one of them is one. */
static bool has_one_source(const struct doctor_service *service)
{
    return service->n_sources == 1 && service->n_limited >= 10 && !service->takes_headers;
}

static void find_unreachable(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    for (size_t i = 0; i < facts->n_services; i++) {
        const struct doctor_service *service = &facts->services[i];
        bool is_source = service->per_source > 0 && service->per_source >= facts->budget.maxconn;
        struct doctor_finding *finding;

        if (!is_source && service->maxconn <= facts->budget.maxconn)
            continue;
        finding = doctor_add(findings, DOCTOR_NOTE, "limits",
                             "%s %" PRIu32 " of %s is not below what lb4 holds at most: %" PRIu32,
                             is_source ? "limit per-source" : "maxconn",
                             is_source ? service->per_source : service->maxconn, service->name,
                             facts->budget.maxconn);
        doctor_limits(finding, "it never refuses anybody: lb4 itself is full before");
        doctor_lift(finding, "a lower number, or a higher maxconn of lb4");
        return;
    }
}

static void find_limits(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    char names[NAMES_MAX];
    struct doctor_finding *finding;

    find_unreachable(facts, findings);
    if (list_those(facts, has_vain_limit, names) > 0) {
        finding = doctor_add(findings, DOCTOR_NOTE, "limits",
                             "limit per-source is not below maxconn of the service: %s", names);
        doctor_limits(finding, "one source can have all connections, and others none");
        doctor_lift(finding, "a lower limit per-source");
    }
    if (list_those(facts, has_full_table, names) > 0) {
        finding = doctor_add(findings, DOCTOR_WARN, "sources",
                             "the table of sources was full, or a part of it: %s", names);
        doctor_limits(finding, "sources without a place shared one, with its limit and rates");
        doctor_lift(finding, "limit per-source N prefix4 24 prefix6 56: fewer sources; or a higher "
                             "maxconn of lb4 and a restart: a larger table");
    }
    if (list_those(facts, has_one_source, names) > 0) {
        finding = doctor_add(findings, DOCTOR_NOTE, "sources",
                             "clients are refused, and all come from one source: %s", names);
        doctor_limits(finding, "if that is a NAT or a balancer, its clients share one allowance");
        doctor_lift(finding, "accept-proxy from its network in the listen line, if it can send "
                             "PROXY headers; or higher limits; lb4ctl show sources SERVICE");
    }
}

void doctor_find_services(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    find_servers(facts, findings);
    find_unchecked(facts, findings);
    find_single(facts, findings);
    find_headless(facts, findings);
    find_names(facts, findings);
    find_access(facts, findings);
    find_limits(facts, findings);
}
