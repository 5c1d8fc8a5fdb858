#include "lb4/probe/lookup.h"

#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lb4/base/sock.h"
#include "lb4/probe/srv.h"

/* --- the set of addresses ----------------------------------------------------------------------
 */

struct found {
    struct addr addr;
    struct resolver_rank rank;
};

/* A hosts file may name ::1 on a machine without IPv6. */
static bool is_missing_loopback(const struct addr *addr)
{
    return addr_is_loopback(addr) && !sock_is_local(addr);
}

/* The lower priority first, then the lower address. */
static bool is_before(const struct found *found, const struct resolver_name *name, size_t at)
{
    if (found->rank.priority != name->ranks[at].priority)
        return found->rank.priority < name->ranks[at].priority;
    return addr_compare(&found->addr, &name->addrs[at]) < 0;
}

static size_t last_of(const struct resolver_name *name)
{
    size_t last = 0;

    for (size_t i = 1; i < name->n_addrs; i++) {
        const struct found found = {name->addrs[last], name->ranks[last]};

        if (is_before(&found, name, i))
            last = i;
    }
    return last;
}

/* Of too many the first stay, since servers turn the order of their answers round. */
static void keep(struct resolver_name *name, const struct found *found)
{
    size_t at = name->n_addrs;

    if (at < RESOLVER_ADDRS_MAX) {
        name->n_addrs++;
    } else {
        name->is_cut = true;
        at = last_of(name);
        if (!is_before(found, name, at))
            return;
    }
    name->addrs[at] = found->addr;
    name->ranks[at] = found->rank;
}

static void add(struct resolver_name *name, const struct found *found)
{
    if (is_missing_loopback(&found->addr))
        return;
    for (size_t i = 0; i < name->n_addrs; i++) {
        if (!addr_equal(&name->addrs[i], &found->addr))
            continue;
        if (found->rank.priority < name->ranks[i].priority)
            name->ranks[i] = found->rank;
        return;
    }
    keep(name, found);
}

/* DNS servers turn the order round with every answer: two balancers would call the same address by
 * different names. */
static void sort(struct resolver_name *name)
{
    for (size_t i = 1; i < name->n_addrs; i++) {
        struct addr addr = name->addrs[i];
        struct resolver_rank rank = name->ranks[i];
        size_t at = i;

        for (; at > 0 && addr_compare(&addr, &name->addrs[at - 1]) < 0; at--) {
            name->addrs[at] = name->addrs[at - 1];
            name->ranks[at] = name->ranks[at - 1];
        }
        name->addrs[at] = addr;
        name->ranks[at] = rank;
    }
}

/* --- addresses of a host -------------------------------------------------------------------------
 */

static bool error_is_of_family(int error)
{
    return error == EAI_NONAME || error == EAI_NODATA || error == EAI_ADDRFAMILY;
}

/* AI_ADDRCONFIG spares us addresses of a family that this machine does not have; but it does not
 * count loopback, so a name for ::1 alone would be unknown on a machine without other IPv6. */
static int ask_host(const char *host, struct addrinfo **ret)
{
    struct addrinfo hints = {
        .ai_family = sock_has_ipv6() ? AF_UNSPEC : AF_INET,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_ADDRCONFIG,
    };
    int error = getaddrinfo(host, NULL, &hints, ret);

    if (!error_is_of_family(error))
        return error;
    hints.ai_flags = 0;
    return getaddrinfo(host, NULL, &hints, ret);
}

static void add_info(struct resolver_name *name, const struct addrinfo *info,
                     const struct srv_record *record)
{
    struct found found = {0};
    struct addr *addr = &found.addr;

    if (info->ai_family != AF_INET && info->ai_family != AF_INET6)
        return;
    memcpy(addr, info->ai_addr, info->ai_family == AF_INET ? sizeof(addr->in4) : sizeof(addr->in6));
    addr_normalise(addr);
    addr_set_port(addr, record ? record->port : 0);
    if (record)
        found.rank = (struct resolver_rank){record->priority, record->weight};
    add(name, &found);
}

/* `record` is NULL, or that whose target the host is. Returns 0 or EAI_.... */
static int add_host(struct resolver_name *name, const char *host, const struct srv_record *record)
{
    struct addrinfo *list;
    int error = ask_host(host, &list);

    if (error)
        return error;
    for (const struct addrinfo *at = list; at; at = at->ai_next)
        add_info(name, at, record);
    freeaddrinfo(list);
    return name->n_addrs > 0 ? 0 : EAI_NODATA;
}

/* --- SRV records ---------------------------------------------------------------------------------
 */

/* resolver(3): h_errno of a query that failed. */
static int error_of(int host_error)
{
    switch (host_error) {
    case HOST_NOT_FOUND:
        return EAI_NONAME;
    case NO_DATA:
        return EAI_NODATA;
    case TRY_AGAIN:
        return EAI_AGAIN;
    default:
        return EAI_FAIL;
    }
}

/* Into room for NS_MAXMSG bytes. Returns how many; below 0: *ret_error, EAI_..., says why. */
static int ask_srv(const char *host, uint8_t *answer, int *ret_error)
{
    struct __res_state state = {0};
    int n;

    *ret_error = EAI_FAIL;
    if (res_ninit(&state) < 0)
        return -1;
    n = res_nquery(&state, host, ns_c_in, ns_t_srv, answer, NS_MAXMSG);
    if (n < 0)
        *ret_error = error_of(state.res_h_errno);
    res_nclose(&state);
    return n < NS_MAXMSG ? n : NS_MAXMSG;
}

static int add_targets(struct resolver_name *name, const struct srv_record *records, int n)
{
    int error = EAI_NODATA;

    for (int i = 0; i < n; i++) {
        int failed = add_host(name, records[i].target, &records[i]);

        if (failed && !error_is_of_family(failed))
            return failed;
        if (failed)
            error = failed;
    }
    return name->n_addrs > 0 ? 0 : error;
}

/* Too much for a stack of a look-up's thread. */
struct question {
    struct srv_record records[RESOLVER_ADDRS_MAX];
    uint8_t answer[NS_MAXMSG];
};

static int take_answer(struct resolver_name *name, struct question *question)
{
    struct srv_set set = {.records = question->records, .max = RESOLVER_ADDRS_MAX};
    int error;
    int n = ask_srv(name->host, question->answer, &error);

    if (n < 0)
        return error;
    n = srv_parse(question->answer, (size_t)n, name->host, &set);
    name->is_cut = set.is_cut;
    return n == SRV_MALFORMED ? EAI_FAIL : add_targets(name, question->records, n);
}

static int add_srv(struct resolver_name *name)
{
    struct question *question = calloc(1, sizeof(*question));
    int error = question ? take_answer(name, question) : EAI_MEMORY;

    free(question);
    return error;
}

void lookup_run(struct resolver_name *name)
{
    name->n_addrs = 0;
    name->is_cut = false;
    name->error = name->is_srv ? add_srv(name) : add_host(name, name->host, NULL);
    if (name->error)
        name->n_addrs = 0;
    sort(name);
}

const char *lookup_error_text(int error)
{
    switch (error) {
    case EAI_INPROGRESS:
        return "no answer in time";
    case LOOKUP_NO_THREAD:
        return "too many look-ups are under way, or no thread can be had";
    default:
        return gai_strerror(error);
    }
}
