#include "lb4/control/doctor_network.h"

#include <inttypes.h>
#include <string.h>

enum {
    TIME_WAIT_MS = 60 * 1000, /* TCP_TIMEWAIT_LEN of the kernel; tcp_fin_timeout is another time */
    FEW_PORTS = 4096,         /* chosen: the kernel's own range has seven times as many */
    FEW_WAITING = 512,        /* chosen: the backlog of old kernels was 128, now it is 4,096 */
    UDP_BUFFER_BYTES = 2 * 1024 * 1024, /* what worker/listener.c asks for */
    LITTLE_MEMORY = 16 * 1024 /* bytes of buffers a socket; chosen: what an exchange of a few
                                 kilobytes each way needs */
};

/* --- ports ---------------------------------------------------------------------------------------
 */

/* Who ends a connection first keeps its port in TIME-WAIT (RFC 9293, section 3.6); the address of
 * the server being the same, the pair cannot be used again meanwhile. tcp_tw_reuse: 1 = for new
 * connections it can, after tcp_tw_reuse_delay, if both ends send timestamps; 2 = over loopback
 * alone (ip-sysctl.rst). */
static bool is_reused(const struct doctor_kernel *kernel, bool is_near)
{
    return kernel->has_timestamps && (kernel->tw_reuse == 1 || (kernel->tw_reuse == 2 && is_near));
}

uint64_t doctor_rate(const struct doctor_kernel *kernel, bool is_near)
{
    uint64_t n_ports = proc_ports_count(&kernel->ports);
    uint64_t rest_ms = is_reused(kernel, is_near) ? kernel->tw_reuse_ms : TIME_WAIT_MS;

    return n_ports * 1000 / (rest_ms > 0 ? rest_ms : 1);
}

/* The service that meets the limit first: with the fewest addresses. NULL: none is TCP, or has
 * servers that a port is needed for, as those on Unix sockets are not. */
static const struct doctor_service *poorest(const struct doctor_facts *facts)
{
    const struct doctor_service *found = NULL;

    for (size_t i = 0; i < facts->n_services; i++) {
        const struct doctor_service *service = &facts->services[i];

        if (service->transports & CONF_TCP && service->n_addresses > 0 &&
            (!found || service->n_addresses < found->n_addresses ||
             (service->n_addresses == found->n_addresses && found->is_near)))
            found = service;
    }
    return found;
}

static void find_ports(const struct doctor_facts *facts, const struct doctor_service *service,
                       struct doctor_findings *findings)
{
    const struct proc_ports *ports = &facts->kernel.ports;
    uint64_t n_ports = proc_ports_count(ports);
    uint64_t most = n_ports * (service->n_addresses + service->n_more_ways);
    struct doctor_finding *finding =
        doctor_add(findings,
                   n_ports < FEW_PORTS            ? DOCTOR_WARN
                   : most < facts->budget.maxconn ? DOCTOR_NOTE
                                                  : DOCTOR_OK,
                   "ports",
                   "%" PRIu64 " local ports (ip_local_port_range %" PRIu32 "-%" PRIu32 ", %" PRIu32
                   " of them reserved); service %s has %zu server address%s",
                   n_ports, ports->first, ports->last, ports->n_reserved, service->name,
                   service->n_addresses, service->n_addresses == 1 ? "" : "es");

    doctor_limits(
        finding,
        "%s: at most %" PRIu64 " connections at a time, %" PRIu64 " to each server address%s",
        service->name, most, n_ports, service->n_more_ways > 0 ? " from each source" : "");
    if (finding->level != DOCTOR_OK)
        doctor_lift(finding, "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\", with the "
                             "ports that are listened on in net.ipv4.ip_local_reserved_ports; or "
                             "more addresses of servers, or of this machine (`source`)");
}

static void find_rate(const struct doctor_facts *facts, const struct doctor_service *service,
                      struct doctor_findings *findings)
{
    const struct doctor_kernel *kernel = &facts->kernel;
    uint64_t n_ports = proc_ports_count(&kernel->ports);
    uint64_t rate = doctor_rate(kernel, service->is_near);
    bool is_fast = is_reused(kernel, service->is_near);
    struct doctor_finding *finding = doctor_add(
        findings,
        is_fast               ? DOCTOR_OK
        : n_ports < FEW_PORTS ? DOCTOR_WARN
                              : DOCTOR_NOTE,
        "time_wait",
        "tcp_tw_reuse is %" PRIu64 ", tcp_timestamps %d%s: the port of a connection that lb4 ended "
        "first rests for %" PRIu64 " ms",
        kernel->tw_reuse, kernel->has_timestamps,
        kernel->tw_reuse == 2 && service->is_near ? ", servers are on loopback" : "",
        is_fast ? kernel->tw_reuse_ms : (uint64_t)TIME_WAIT_MS);

    doctor_limits(finding,
                  "%s: %" PRIu64 " new connections/s to each server address%s, %" PRIu64
                  " in all, where clients end first (%" PRIu64 " in a burst)",
                  service->name, rate, service->n_more_ways > 0 ? " from each source" : "",
                  rate * (service->n_addresses + service->n_more_ways), n_ports);
    if (!is_fast)
        doctor_lift(finding,
                    "sysctl -w net.ipv4.tcp_tw_reuse=1%s (both ends must send "
                    "timestamps); or more ports, or more addresses of servers, or of this machine "
                    "(`source`)",
                    kernel->has_timestamps ? "" : " net.ipv4.tcp_timestamps=1");
}

/* Of those that find_ports() and find_rate() foretell, and of others of the same kind. */
static void find_local(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    char text[ADDR_TEXT_MAX];
    struct doctor_finding *finding;

    if (facts->n_local[LOCAL_PORTS] > 0) {
        finding = doctor_add(findings, DOCTOR_WARN, "connects",
                             "%" PRIu64 " connects to servers found no local port",
                             facts->n_local[LOCAL_PORTS]);
        doctor_limits(finding, "those clients went to other servers, or were reset");
        doctor_lift(finding, "more addresses of this machine in `source`, or sysctl -w "
                             "net.ipv4.ip_local_port_range=\"1024 65535\"");
    }
    if (facts->missing_source) {
        bool is_ipv6 = facts->missing_source->sa.sa_family == AF_INET6;
        const char *host = addr_format(facts->missing_source, text) + is_ipv6;

        *(strrchr(text, ':') - is_ipv6) = '\0'; /* brackets and port */
        finding = doctor_add(findings, DOCTOR_BAD, "source", "`source` %s is not here", host);
        doctor_limits(finding, "connects from it; other sources are taken in its place");
        doctor_lift(finding, "ip address add %s/%d dev lo, or an address of this machine", host,
                    is_ipv6 ? 128 : 32);
    }
    if (facts->lost_interface) {
        finding = doctor_add(findings, DOCTOR_BAD, "interface",
                             "interface %s is not here, or was made anew", facts->lost_interface);
        doctor_limits(finding, "no client comes in by it, no server is reached");
        doctor_lift(finding, "when ip link shows it: lb4ctl reload, which binds listeners anew");
    }
}

/* --- who waits at a listener ---------------------------------------------------------------------
 */

/* listen(2) is lowered to somaxconn. A full queue drops the last ACK of a handshake, or the SYN:
 * the client tries again after a second, tcp(7). */
static void find_backlog(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct doctor_kernel *kernel = &facts->kernel;
    struct doctor_finding *finding =
        doctor_add(findings, kernel->somaxconn < FEW_WAITING ? DOCTOR_WARN : DOCTOR_OK, "backlog",
                   "somaxconn is %" PRIu64 ": so many wait at each listening socket, of which a "
                   "listener has one for each of %zu worker%s",
                   kernel->somaxconn, facts->n_workers, facts->n_workers == 1 ? "" : "s");

    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding, "clients of a burst beyond it try again after 1 s, 3 s ...; so do those "
                           "beyond maxconn");
    doctor_lift(finding, "sysctl -w net.core.somaxconn=4096, and a restart");
}

/* ip-sysctl.rst: cookies are sent when the backlog of a socket overflows. */
static void find_syn(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct doctor_kernel *kernel = &facts->kernel;
    struct doctor_finding *finding =
        doctor_add(findings, kernel->has_syncookies ? DOCTOR_OK : DOCTOR_WARN, "syn",
                   "tcp_syncookies is %d, tcp_max_syn_backlog %" PRIu64, kernel->has_syncookies,
                   kernel->syn_backlog);

    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding, "a flood of %" PRIu64 " forged SYNs keeps clients out",
                  kernel->syn_backlog);
    doctor_lift(finding, "sysctl -w net.ipv4.tcp_syncookies=1");
}

/* ip-sysctl.rst: without it, a handshake that is under way ends with the listening socket that has
 * begun it; with it, it goes to another one of the same address. lb4 serves who waits in the queue
 * of a socket before it closes it. */
static void find_migration(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    struct doctor_finding *finding;

    if (facts->n_workers < 2)
        return;
    finding = doctor_add(findings, facts->kernel.migrates ? DOCTOR_OK : DOCTOR_NOTE, "migration",
                         "tcp_migrate_req is %d", facts->kernel.migrates);
    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding, "a client whose handshake ends just as its listening socket closes (a "
                           "drain, a reload that takes the listener away) is reset");
    doctor_lift(finding, "sysctl -w net.ipv4.tcp_migrate_req=1");
}

/* --- UDP -----------------------------------------------------------------------------------------
 */

/* socket(7): SO_RCVBUF is lowered to rmem_max, but for CAP_NET_ADMIN. */
static void find_udp(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct doctor_kernel *kernel = &facts->kernel;
    bool is_small = kernel->rmem_max < UDP_BUFFER_BYTES || kernel->wmem_max < UDP_BUFFER_BYTES;
    struct doctor_finding *finding;

    if (!facts->has_udp)
        return;
    finding = doctor_add(
        findings,
        facts->n_dropped_kernel > 0 ? DOCTOR_WARN
        : is_small                  ? DOCTOR_NOTE
                                    : DOCTOR_OK,
        "udp_buffers",
        "rmem_max is %" PRIu64 ", wmem_max %" PRIu64 "; the kernel has dropped "
        "%" PRIu64 " datagrams at full sockets, %" PRIu64 " found a send buffer full",
        kernel->rmem_max, kernel->wmem_max, facts->n_dropped_kernel, facts->n_dropped_full);
    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding,
                  "datagrams of a burst are lost; listeners that lb4 opens as root have "
                  "%d bytes in any case",
                  UDP_BUFFER_BYTES);
    if (is_small)
        doctor_lift(finding, "sysctl -w net.core.rmem_max=%d net.core.wmem_max=%d, and a restart",
                    UDP_BUFFER_BYTES, UDP_BUFFER_BYTES);
    else
        doctor_lift(finding, "more `workers`");
}

static void find_sessions(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    struct doctor_finding *finding;

    if (!facts->has_udp)
        return;
    finding = doctor_add(
        findings, facts->n_dropped_limit > 0 ? DOCTOR_WARN : DOCTOR_OK, "udp_sessions",
        "at most %" PRIu32 " UDP sessions; %" PRIu64 " datagrams of new clients found no room",
        facts->budget.udp_sessions, facts->n_dropped_limit);
    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding, "new clients are dropped, or older sessions end for them");
    doctor_lift(finding, "a shorter `timeout udp`, `udp-responses 1` where it fits, more "
                         "descriptors (LimitNOFILE=) or a wider ip_local_port_range");
}

/* --- the kernel's tables and memory --------------------------------------------------------------
 */

/* nf_conntrack-sysctl.rst: a new connection beyond nf_conntrack_max is dropped. lb4 has one with
 * the client and one with the server. A machine as it comes allows fewer of them than descriptors:
 * a warning is due when the table fills up. */
static void find_conntrack(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct doctor_kernel *kernel = &facts->kernel;
    uint64_t needed = 2 * (uint64_t)facts->budget.maxconn;
    bool is_near = kernel->conntrack_count > kernel->conntrack_most / 4 * 3;
    struct doctor_finding *finding;

    if (kernel->conntrack_most == 0 || kernel->conntrack_count == 0)
        return;
    finding = doctor_add(findings,
                         is_near                           ? DOCTOR_WARN
                         : kernel->conntrack_most < needed ? DOCTOR_NOTE
                                                           : DOCTOR_OK,
                         "conntrack",
                         "nf_conntrack_max is %" PRIu64 ", %" PRIu64 " are in use; a connection "
                         "takes 2",
                         kernel->conntrack_most, kernel->conntrack_count);
    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding,
                  "%" PRIu64 " connections at a time, of all programs: beyond it packets "
                  "are dropped",
                  kernel->conntrack_most / 2);
    doctor_lift(finding,
                "sysctl -w net.netfilter.nf_conntrack_max=%" PRIu64
                ", or `notrack` for lb4's ports in nftables",
                2 * (needed > kernel->conntrack_most ? needed : kernel->conntrack_most));
}

/* tcp(7): beyond the third number of tcp_mem no buffer grows, and packets are dropped. */
static void find_memory(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    uint64_t bytes = facts->kernel.tcp_mem_pages * facts->kernel.limits.page_bytes;
    uint64_t each = bytes / (2 * (uint64_t)facts->budget.maxconn + 1);
    struct doctor_finding *finding;

    if (bytes == 0)
        return;
    finding = doctor_add(findings, each < LITTLE_MEMORY ? DOCTOR_NOTE : DOCTOR_OK, "tcp_memory",
                         "tcp_mem allows %" PRIu64 " MiB of TCP buffers on this machine, %" PRIu64
                         " KiB for each socket of %" PRIu32 " connections",
                         bytes >> 20, each >> 10, facts->budget.maxconn);
    if (finding->level == DOCTOR_OK)
        return;
    doctor_limits(finding, "throughput, when all connections are busy");
    doctor_lift(finding, "more memory, or a lower maxconn in lb4.conf");
}

void doctor_find_network(const struct doctor_facts *facts, struct doctor_findings *findings)
{
    const struct doctor_service *service = poorest(facts);

    if (service) {
        find_ports(facts, service, findings);
        find_rate(facts, service, findings);
    }
    find_local(facts, findings);
    find_backlog(facts, findings);
    find_syn(facts, findings);
    find_migration(facts, findings);
    find_udp(facts, findings);
    find_sessions(facts, findings);
    find_conntrack(facts, findings);
    find_memory(facts, findings);
}
