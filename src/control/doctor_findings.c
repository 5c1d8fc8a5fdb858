#include "lb4/control/doctor_findings.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "lb4/conf/bounds.h"
#include "lb4/control/doctor_network.h"
#include "lb4/control/doctor_services.h"

enum {
    FEW_PIPES = 8,                 /* of a worker; chosen: as many as are made at the start */
    SMALL_PIPE_BYTES = 256 * 1024, /* relay/pipe.c does without one below it */
    FEW_CONNECTIONS = 1000,        /* chosen: less than any distribution's hard limit gives */
    WIDEST_FIRST = 1024,           /* of ip_local_port_range */
    WIDEST_LAST = 65535
};

const char *doctor_level_word(enum doctor_level level)
{
    switch (level) {
    case DOCTOR_OK:
        return "ok";
    case DOCTOR_NOTE:
        return "note";
    case DOCTOR_WARN:
        return "warn";
    case DOCTOR_BAD:
        return "bad";
    }
    return "?";
}

struct doctor_finding *doctor_add(struct doctor_findings *findings, enum doctor_level level,
                                  const char *about, const char *format, ...)
{
    struct doctor_finding *finding = &findings->list[findings->n];
    va_list args;

    findings->n += findings->n + 1 < DOCTOR_FINDINGS_MAX;
    *finding = (struct doctor_finding){.level = level, .about = about};
    va_start(args, format);
    vsnprintf(finding->found, sizeof(finding->found), format, args);
    va_end(args);
    return finding;
}

void doctor_limits(struct doctor_finding *finding, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(finding->limits, sizeof(finding->limits), format, args);
    va_end(args);
}

void doctor_lift(struct doctor_finding *finding, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(finding->lift, sizeof(finding->lift), format, args);
    va_end(args);
}

/* --- the ceiling ---------------------------------------------------------------------------------
 */

static void set(struct doctor_ceiling *ceiling, uint64_t n, enum doctor_bound bound)
{
    ceiling->n_connections = n;
    ceiling->bound = bound;
}

static enum doctor_bound budget_bound(const struct limits_budget *budget)
{
    switch (budget->bound) {
    case LIMITS_BOUND_DESCRIPTORS:
        break;
    case LIMITS_BOUND_CONFIG:
        return DOCTOR_BOUND_CONFIG;
    case LIMITS_BOUND_BUILT_IN:
        return DOCTOR_BOUND_BUILT_IN;
    }
    return DOCTOR_BOUND_DESCRIPTORS;
}

/* RLIMIT_NOFILE may rise to fs.nr_open, and that, too (proc_sys_fs(5)); systemd sets it with
 * LimitNOFILE= (systemd.exec(5)). */
static void lift_descriptors(const struct doctor_facts *facts, struct doctor_ceiling *ceiling)
{
    uint64_t limit = facts->budget.descriptors;
    uint64_t more = 4 * limit;

    if (limit >= facts->kernel.open_most)
        snprintf(ceiling->lift, sizeof(ceiling->lift),
                 "sysctl -w fs.nr_open=%" PRIu64 ", and LimitNOFILE=%" PRIu64
                 " in lb4.service, or ulimit -Hn %" PRIu64 " before lb4 starts",
                 more, more, more);
    else
        snprintf(ceiling->lift, sizeof(ceiling->lift),
                 "LimitNOFILE=%" PRIu64 " in lb4.service (systemctl edit lb4), or ulimit -Hn "
                 "%" PRIu64 " before lb4 starts",
                 more < facts->kernel.open_most ? more : facts->kernel.open_most,
                 more < facts->kernel.open_most ? more : facts->kernel.open_most);
}

static void lift_ports(const struct doctor_kernel *kernel, struct doctor_ceiling *ceiling)
{
    if (kernel->ports.first > WIDEST_FIRST || kernel->ports.last < WIDEST_LAST)
        snprintf(
            ceiling->lift, sizeof(ceiling->lift),
            "sysctl -w net.ipv4.ip_local_port_range=\"%d %d\" (keep ports that are listened on "
            "out of it: net.ipv4.ip_local_reserved_ports), or more addresses of servers, or of "
            "this machine (`source`)",
            WIDEST_FIRST, WIDEST_LAST);
    else
        snprintf(ceiling->lift, sizeof(ceiling->lift),
                 "more addresses of servers, or of this machine (`source`)");
}

static void explain(const struct doctor_facts *facts, struct doctor_ceiling *ceiling)
{
    const struct doctor_kernel *kernel = &facts->kernel;
    char *limit = ceiling->limit;

    switch (ceiling->bound) {
    case DOCTOR_BOUND_DESCRIPTORS:
        snprintf(limit, DOCTOR_TEXT_MAX, "RLIMIT_NOFILE %" PRIu64, facts->budget.descriptors);
        lift_descriptors(facts, ceiling);
        break;
    case DOCTOR_BOUND_CONFIG:
        snprintf(limit, DOCTOR_TEXT_MAX, "maxconn %" PRIu32, facts->budget.maxconn);
        snprintf(ceiling->lift, DOCTOR_TEXT_MAX, "maxconn auto in lb4.conf, and a reload");
        break;
    case DOCTOR_BOUND_BUILT_IN:
        snprintf(limit, DOCTOR_TEXT_MAX, "what lb4 is built for, %d", CONF_MAXCONN_MAX);
        break;
    case DOCTOR_BOUND_PORTS:
        snprintf(limit, DOCTOR_TEXT_MAX,
                 "%" PRIu32 " local ports to each of %zu server address%s%s",
                 proc_ports_count(&kernel->ports), facts->n_addresses,
                 facts->n_addresses == 1 ? "" : "es",
                 facts->n_more_ways > 0 ? ", through each source" : "");
        lift_ports(kernel, ceiling);
        break;
    case DOCTOR_BOUND_CONNTRACK:
        snprintf(limit, DOCTOR_TEXT_MAX, "nf_conntrack_max %" PRIu64 ", of which each takes 2",
                 kernel->conntrack_most);
        snprintf(ceiling->lift, DOCTOR_TEXT_MAX,
                 "sysctl -w net.netfilter.nf_conntrack_max=%" PRIu64,
                 4 * (uint64_t)facts->budget.maxconn);
        break;
    }
}

/* A connect(2) takes any local port that has no connection to the same address yet (ip(7),
 * tcp(7)): so many connections to one address, and no more. */
void doctor_ceiling(const struct doctor_facts *facts, struct doctor_ceiling *ret)
{
    const struct doctor_kernel *kernel = &facts->kernel;
    uint64_t by_ports =
        proc_ports_count(&kernel->ports) * (uint64_t)(facts->n_addresses + facts->n_more_ways);

    *ret = (struct doctor_ceiling){0};
    set(ret, facts->budget.maxconn, budget_bound(&facts->budget));
    if (facts->n_addresses > 0 && by_ports < ret->n_connections)
        set(ret, by_ports, DOCTOR_BOUND_PORTS);
    if (kernel->conntrack_count > 0 && kernel->conntrack_most / 2 < ret->n_connections)
        set(ret, kernel->conntrack_most / 2, DOCTOR_BOUND_CONNTRACK);
    explain(facts, ret);
}

/* --- the process -------------------------------------------------------------------------------
 */

static void find_descriptors(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct limits_budget *budget = &facts->budget;
    bool has_few = budget->maxconn < FEW_CONNECTIONS && budget->bound == LIMITS_BOUND_DESCRIPTORS;
    struct doctor_ceiling ceiling = {.bound = DOCTOR_BOUND_DESCRIPTORS};
    struct doctor_finding *finding = doctor_add(
        findings, has_few ? DOCTOR_WARN : DOCTOR_OK, "descriptors",
        "RLIMIT_NOFILE is %" PRIu64 ": %" PRIu64 " for lb4 itself, %" PRIu64 " in reserve, %" PRIu32
        " for UDP sessions, %" PRIu64 " for pipes, 2 for each of %" PRIu32 " connections",
        budget->descriptors, budget->n_fixed, budget->n_reserve, budget->udp_sessions,
        2 * (uint64_t)budget->pipes_per_worker * facts->n_workers, budget->maxconn);

    if (!has_few)
        return;
    doctor_limits(finding, "connections at a time; more clients wait in the kernel's queue");
    explain(facts, &ceiling);
    doctor_lift(finding, "%s", ceiling.lift);
}

static void find_probes(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    struct doctor_finding *finding;

    if (facts->n_probed <= facts->budget.probes)
        return;
    finding = doctor_add(findings, DOCTOR_WARN, "probes",
                         "%" PRIu32 " of %zu servers can be probed at a time, others wait",
                         facts->budget.probes, facts->n_probed);
    doctor_limits(finding, "how soon a silent server is found out");
    doctor_lift(finding, "raise RLIMIT_NOFILE: LimitNOFILE=%zu in lb4.service",
                8 * facts->n_probed);
}

/* pipe(7): pipe-user-pages-soft counts all pipes of a user without privileges, pipe-max-size bounds
 * one. */
static void find_pipes(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct limits_kernel *kernel = &facts->kernel.limits;
    const struct limits_budget *budget = &facts->budget;
    bool is_small = budget->pipe_bytes < SMALL_PIPE_BYTES;
    bool has_few = budget->pipes_per_worker < FEW_PIPES;
    struct doctor_finding *finding;

    if (!facts->wants_splice)
        return;
    finding = doctor_add(findings, is_small || has_few ? DOCTOR_NOTE : DOCTOR_OK, "pipes",
                         "at most %" PRIu32 " pipes of up to %" PRIu32
                         " KiB a worker; pipe-user-pages-soft is %" PRIu64
                         " pages, pipe-max-size %" PRIu64 " bytes",
                         budget->pipes_per_worker, budget->pipe_bytes / 1024,
                         kernel->pipe_soft_pages, kernel->pipe_max_bytes);
    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding,
                  "bulk data is copied where no pipe of %d KiB is to be had: more CPU time",
                  SMALL_PIPE_BYTES / 1024);
    if (is_small)
        doctor_lift(finding, "sysctl -w fs.pipe-max-size=%d, and a restart", LIMITS_PIPE_BYTES);
    else
        doctor_lift(finding, "sysctl -w fs.pipe-user-pages-soft=%zu, and a restart",
                    facts->n_workers * LIMITS_PIPES_AUTO_MAX * 2 *
                        (budget->pipe_bytes / kernel->page_bytes));
}

static void find_privileges(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    struct doctor_finding *finding;

    if (facts->is_root) {
        finding = doctor_add(findings, DOCTOR_WARN, "user", "it runs as root");
        finding->is_told = true;
        doctor_limits(finding, "nothing: whoever breaks into lb4 has the whole machine");
        doctor_lift(finding, "user lb4 in lb4.conf, or -u lb4, and a restart");
    }
    if (facts->lowest_port >= facts->kernel.first_free_port || facts->can_bind)
        return;
    finding = doctor_add(findings, DOCTOR_NOTE, "ports_below",
                         "a port below %" PRIu64 " (ip_unprivileged_port_start) is served, and "
                         "lb4 has no capability to bind another one",
                         facts->kernel.first_free_port);
    doctor_limits(finding, "a reload that adds a listener there fails, and changes nothing");
    doctor_lift(finding,
                "start it as root with `user lb4`, or AmbientCapabilities="
                "CAP_NET_BIND_SERVICE in lb4.service, or sysctl -w "
                "net.ipv4.ip_unprivileged_port_start=%" PRIu32,
                facts->lowest_port);
}

static void find_log(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    struct doctor_finding *finding;

    if (facts->n_log_dropped == 0)
        return;
    finding = doctor_add(findings, DOCTOR_WARN, "log", "%" PRIu64 " lines of the log were dropped",
                         facts->n_log_dropped);
    doctor_limits(finding,
                  "what the log tells: who reads it is too slow, and traffic does not wait");
    doctor_lift(finding, "a faster reader, or fewer lines (without -v)");
}

static void find_reload(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    struct doctor_finding *finding;

    if (!facts->has_reload_failed)
        return;
    finding = doctor_add(findings, DOCTOR_WARN, "reload",
                         "the last reload failed: the file is not what serves");
    doctor_limits(finding, "a restart would not start");
    doctor_lift(finding, "lb4ctl reload --dry-run tells the mistake");
}

/* --- all -----------------------------------------------------------------------------------------
 */

/* The worst first, else as they were found. */
static void sort(struct doctor_findings *findings)
{
    for (size_t i = 1; i < findings->n; i++) {
        struct doctor_finding moved = findings->list[i];
        size_t at = i;

        for (; at > 0 && findings->list[at - 1].level < moved.level; at--)
            findings->list[at] = findings->list[at - 1];
        findings->list[at] = moved;
    }
}

void doctor_find(const struct doctor_facts *facts, struct doctor_findings *ret)
{
    ret->n = 0;
    find_descriptors(facts, ret);
    doctor_find_network(facts, ret);
    find_pipes(facts, ret);
    find_probes(facts, ret);
    doctor_find_services(facts, ret);
    find_privileges(facts, ret);
    find_log(facts, ret);
    find_reload(facts, ret);
    sort(ret);
}
