/* The listening sockets, of TCP and of UDP: for each address (each port of a range) one
 * SO_REUSEPORT socket for each worker, all bound before any worker runs, so that the kernel spreads
 * connections and flows over a group that does not change (FAULTS.md K12). Datagrams that came
 * while a group grew may lie at the wrong worker: they are discarded.
 *
 * A socket that was passed to us (worker/inherited.h) is not bound again and has one owner, whose
 * worker hands connections on; the others have no descriptor for that listener. What waits in its
 * queue stays there.
 *
 * The table is built by control and constant while workers run. A socket is handed to its worker
 * with listener_table_take(); what was not taken is closed by listener_table_close(). */
#ifndef LB4_WORKER_LISTENER_H
#define LB4_WORKER_LISTENER_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/base/addr.h"
#include "lb4/conf/model.h"
#include "lb4/shared/service.h"
#include "lb4/worker/inherited.h"

enum { LISTENER_ERROR_MAX = 256 }; /* bytes of an error text with its NUL */

/* One address and port of one transport. */
struct listener {
    enum conf_transport transport; /* CONF_TCP or CONF_UDP */
    struct addr addr;
    struct service *service;
    bool is_dual_stack; /* [::]: takes IPv4 too */
    bool is_inherited;  /* its sockets were passed to us */
    bool shares_port;   /* other listeners of ours have the port on other addresses */
};

struct listener_table {
    struct listener *listeners; /* first those of TCP, then those of UDP */
    size_t n_listeners;
    size_t n_tcp; /* of them */
    size_t n_workers;
    int *fds; /* [worker * n_listeners + listener], -1 once taken, and where another worker owns the
                 only socket of the listener */
};

struct listener_table_options {
    size_t n_workers;
    const struct inherited *inherited; /* sockets of it are taken; NULL = none */
};

/* Listening sockets that `conf` needs for one worker: for the budget of descriptors, before they
 * exist. */
size_t listener_count(const struct conf *conf);

/* Bind and listen, but for what was passed to us. An address that anybody uses, another lb4 with
 * SO_REUSEPORT too, is refused. On error nothing is bound. Returns 0, or -errno with a sentence
 * that names the address in `reterr`; -E2BIG: more sockets were passed for one listener than there
 * are workers. */
int listener_table_open(struct listener_table *table, const struct conf *conf,
                        const struct service_table *services,
                        const struct listener_table_options *options,
                        char reterr[static LISTENER_ERROR_MAX]);
void listener_table_close(struct listener_table *table);

/* Has each UDP listener a socket for every worker? If not, one worker may have all sessions. */
bool listener_table_spreads_udp(const struct listener_table *table);

/* -1: another worker owns this listener. */
int listener_table_take(struct listener_table *table, size_t worker, size_t listener);

#endif
