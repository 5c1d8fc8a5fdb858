/* A relay whose service makes clients wait: `all-down hold` of HOLD_MS for HOLD_MAX clients, and a
 * `maxconn` of each server, if a test wants one, with a queue. What another thread would be woken
 * with comes to a mailbox that the test empties. */
#ifndef TEST_WAITING_RIG_H
#define TEST_WAITING_RIG_H

#include "lb4/relay/resume.h"

#include "rig.h"

enum { HOLD_MS = 1000, HOLD_MAX = 80, QUEUE_MS = 500, QUEUE_MAX = 2, CLIENTS_MAX = 80 };

static struct rig rig;
static struct mailbox rung;
static struct addr at;
static int listener_fd;
static uint32_t maxconn;
static int clients[CLIENTS_MAX];

static void make_wait(struct conf_service *service)
{
    service->all_down = CONF_ALL_DOWN_HOLD;
    service->hold_ms = HOLD_MS;
    service->hold_max = HOLD_MAX;
    service->queue = (struct conf_queue){true, QUEUE_MAX, QUEUE_MS};
    for (size_t i = 0; i < service->n_servers; i++)
        service->servers[i].maxconn = maxconn;
}

static inline void waiting_open(uint32_t limit)
{
    maxconn = limit;
    rig_adjust = make_wait;
    listener_fd = sockets_listen(&at);
    rig_open(&rig, &at, 1, 0);
    assert_int_equal(mailbox_init(&rung), 0);
    waiting_crew_join(rig.services.crew, &rung, rig.relay.parking.marks);
}

static inline struct backend *waiting_server(void)
{
    return &rig.services.services->backends[0];
}

static inline struct waiting *waiting_now(void)
{
    return &rig.services.services->waiting;
}

static inline void waiting_set_down(bool is_down)
{
    if (is_down)
        backend_set(waiting_server(), PICK_DOWN);
    else
        backend_clear(waiting_server(), PICK_DOWN);
    waiting_wake_all(rig.services.services);
}

/* A turn of a worker that may have been woken. Was it? */
static inline bool waiting_turn(void)
{
    bool is_woken = mailbox_take(&rung) & MAILBOX_WAITING;

    if (is_woken)
        resume_woken(&rig.relay);
    rig_turn(&rig, 0);
    return is_woken;
}

static inline void waiting_add(int first, int n)
{
    for (int i = first; i < first + n; i++)
        clients[i] = rig_client(&rig);
    rig_turn(&rig, 0);
}

static inline struct conn *waiting_conn(int nth)
{
    struct list *link = rig.relay.live.next;

    while (nth-- > 0)
        link = link->next;
    return container_of(link, struct conn, link);
}

static inline size_t waiting_count_state(enum conn_state state)
{
    size_t n = 0;

    for (struct list *link = rig.relay.live.next; link != &rig.relay.live; link = link->next)
        n += container_of(link, struct conn, link)->state == state;
    return n;
}

static inline uint64_t waiting_ended(enum waiting_end end)
{
    return stats_read(&rig.stats.services[0].waiting.ended[end]);
}

static inline uint64_t waiting_closed(enum close_reason reason)
{
    return stats_read(&rig.stats.services[0].closed[reason]);
}

static inline void waiting_close(int n)
{
    for (int i = 0; i < n; i++)
        if (clients[i] >= 0)
            close(clients[i]);
    tcp_reset_all(&rig.relay, CLOSE_DRAIN);
    tcp_reap(&rig.relay);
    rig_turn(&rig, 0);
    assert_false(waiting_is_any(waiting_now()));
    mailbox_fini(&rung);
    rig_close(&rig);
    close(listener_fd);
}

#endif
