/* The listening sockets, of TCP and of UDP: for each address (each port of a range) one
 * SO_REUSEPORT socket for each worker, all bound before any worker uses one, so that the kernel
 * spreads connections and flows over a group that does not change (FAULTS.md K12). Datagrams that
 * came while a group grew may lie at the wrong worker: they are discarded.
 *
 * A socket that was passed to us (worker/inherited.h) is not bound again and has one owner, whose
 * worker hands connections on; the others have no descriptor for that listener. What waits in its
 * queue stays there. Of a Unix socket there is one, too (worker/listener_unix.h).
 *
 * The table is control's; listeners do not move, and keep their number while they live. A socket is
 * handed to its worker with listener_table_take(), in the worker's thread when control has asked it
 * to (worker/listener_change.h); what was not taken is closed by listener_table_close(). */
#ifndef LB4_WORKER_LISTENER_H
#define LB4_WORKER_LISTENER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lb4/base/addr.h"
#include "lb4/base/unix_listen.h"
#include "lb4/conf/model.h"
#include "lb4/shared/service.h"
#include "lb4/shared/service_table.h"
#include "lb4/worker/inherited.h"

enum {
    LISTENER_ERROR_MAX = 384,    /* bytes of an error text with its NUL */
    LISTENER_TABLE_MAX = 1 << 20 /* listeners; each costs a descriptor for each worker, so others
                                    bounds are met before */
};

enum listener_state {
    LISTENER_NONE, /* the place is free */
    LISTENER_OPEN,
    LISTENER_LEAVING /* not in the configuration any more. UDP: old sessions go on for a while */
};

/* One address and port, or one Unix socket, of one transport. */
struct listener {
    enum conf_transport transport; /* CONF_TCP or CONF_UDP */
    struct addr addr;
    struct service *service;
    struct prefix_map *accept_proxy; /* who is believed in PROXY headers; NULL: nobody sends them.
                                        The table holds it, a list does not */
    struct conf_listen_words words;
    unsigned ifindex; /* of words.interface when it was bound; a link that is made anew has another
                         one. 0 = none */
    bool is_dual_stack; /* [::]: takes IPv4 too */
    bool is_inherited;  /* its sockets were passed to us */
    bool shares_port;   /* others of the same list have the port on other addresses */
    bool meets_ours;    /* a listener that was there before has the port on another address */
    enum listener_state state;
    uint64_t leave_by_ns;  /* LEAVING: then it is closed */
    struct unix_file file; /* of a Unix socket that we have made */
};

/* Whose the files of Unix sockets are to be: who lb4 will be. */
struct listener_owner {
    uid_t uid; /* (uid_t)-1 = who binds */
    gid_t gid;
};

struct listener_table {
    struct listener *listeners; /* LISTENER_TABLE_MAX places */
    size_t n_listeners;         /* places below may be taken */
    size_t first_free;          /* no place below is free */
    size_t n_workers;
    struct listener_owner owner;
    int *fds; /* [listener * n_workers + worker], -1 once taken, and where another worker owns the
                 only socket of the listener */
};

struct listener_table_options {
    size_t n_workers;
    const struct inherited *inherited;  /* sockets of it are taken; NULL = none */
    const struct listener_owner *owner; /* NULL = who binds */
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

/* Has its interface gone, and come back as another one? What is bound hears nobody. A listener that
 * leaves is not waited for: it has when its interface has gone. */
bool listener_is_cut_off(const struct listener *listener);

#endif
