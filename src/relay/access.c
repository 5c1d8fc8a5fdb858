#include "lb4/relay/access.h"

#include <errno.h>
#include <stdlib.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/sock.h"
#include "lb4/relay/conn.h"
#include "lb4/relay/parking.h"
#include "lb4/relay/udp_session.h"
#include "lb4/shared/reserve.h"

static const uint64_t FULL_NS = 100 * 1000000ull; /* until the log is looked at again; chosen */

enum {
    CLIENT,
    SERVICE,
    SERVER,
    LISTENER,
    QUEUE,
    CONNECT,
    TOTAL,
    IN,
    OUT,
    REASON,
    TRIES,
    TRANSPORT, /* from here on of UDP alone */
    DATAGRAMS_IN,
    DATAGRAMS_OUT
};

static const struct log_key keys[ACCESS_VALUES] = {
    [CLIENT] = {"client", LOG_ADDR},
    [SERVICE] = {"service", LOG_TEXT},
    [SERVER] = {"server", LOG_TEXT},
    [LISTENER] = {"listener", LOG_ADDR},
    [QUEUE] = {"queue_ms", LOG_MS},
    [CONNECT] = {"connect_ms", LOG_MS},
    [TOTAL] = {"total_ms", LOG_MS},
    [IN] = {"in", LOG_NUMBER},
    [OUT] = {"out", LOG_NUMBER},
    [REASON] = {"reason", LOG_TEXT},
    [TRIES] = {"tries", LOG_NUMBER},
    [TRANSPORT] = {"transport", LOG_TEXT},
    [DATAGRAMS_IN] = {"datagrams_in", LOG_NUMBER},
    [DATAGRAMS_OUT] = {"datagrams_out", LOG_NUMBER},
};

static const struct log_form tcp_form = {"access", keys, TRANSPORT};
static const struct log_form udp_form = {"access", keys, ACCESS_VALUES};

/* --- ticks ------------------------------------------------------------------------------------ */

static int ticks_init(struct access_ticks *ticks)
{
    *ticks = (struct access_ticks){0};
    ticks->lists = reserve_memory(SERVICE_TABLE_MAX, sizeof(struct deadline_list *));
    return ticks->lists ? 0 : -ENOMEM;
}

static void ticks_fini(struct access_ticks *ticks)
{
    deadline_set_fini(&ticks->set);
    reserve_release(ticks->lists, SERVICE_TABLE_MAX, sizeof(struct deadline_list *));
    ticks->lists = NULL;
}

int access_init(struct access *access)
{
    int error = ticks_init(&access->tcp);

    access->not_before_ns = 0;
    return error ? error : ticks_init(&access->udp);
}

void access_fini(struct access *access)
{
    ticks_fini(&access->tcp);
    ticks_fini(&access->udp);
}

static void put_list(struct access_ticks *ticks, size_t index, struct deadline_list *list)
{
    deadline_list_leave(ticks->lists[index]);
    ticks->lists[index] = list;
}

int access_adopt(struct access *access, const struct service *service, bool *ret_changed)
{
    const struct service_plan *plan = service_plan(service);
    uint64_t ns = plan->logs_access ? plan->access_ns : 0;
    const struct deadline_list *present = access->tcp.lists[service->index];
    struct deadline_list *tcp = NULL;
    struct deadline_list *udp = NULL;

    *ret_changed = ns != (present ? present->duration_ns : 0);
    if (!*ret_changed)
        return 0;
    if (ns > 0) {
        tcp = deadline_set_list(&access->tcp.set, ns, 0);
        udp = deadline_set_list(&access->udp.set, ns, 0);
    }
    if (ns > 0 && (!tcp || !udp)) {
        deadline_list_leave(tcp);
        deadline_list_leave(udp);
        return -ENOMEM;
    }
    put_list(&access->tcp, service->index, tcp);
    put_list(&access->udp, service->index, udp);
    return 0;
}

void access_begin(struct deadline_list *list, struct access_tick **tick, void *owner,
                  uint64_t now_ns)
{
    if (!list) {
        access_end(tick);
        return;
    }
    if (!*tick) {
        *tick = malloc(sizeof(**tick));
        if (!*tick)
            return;
        deadline_init(&(*tick)->deadline);
        (*tick)->owner = owner;
    }
    deadline_start(list, &(*tick)->deadline, now_ns);
}

void access_end(struct access_tick **tick)
{
    if (!*tick)
        return;
    deadline_stop(&(*tick)->deadline);
    free(*tick);
    *tick = NULL;
}

static void say_live_conn(struct access *access, struct conn *conn, uint64_t now_ns)
{
    struct access_line line;

    access_note_conn(&line, conn, now_ns);
    line.values[REASON].text = "live";
    if (line.is_wanted)
        access_say(&line);
    access_begin(access_list(&access->tcp, conn->service), &conn->tick, conn, now_ns);
}

static void say_live_session(struct access *access, struct udp_session *session, uint64_t now_ns)
{
    struct access_line line;

    access_note_session(&line, session, "live", now_ns);
    if (line.is_wanted && session->backend)
        access_say(&line);
    access_begin(access_list(&access->udp, session->service), &session->tick, session, now_ns);
}

/* The owner of the next one that is due, unless the log is full: then they wait. */
static void *next_due(struct access *access, struct deadline_set *set, size_t *at, uint64_t now_ns)
{
    struct deadline *due;

    if (access->not_before_ns > now_ns || deadline_set_earliest(set, UINT64_MAX) > now_ns)
        return NULL;
    if (!log_wait_room(0)) {
        access->not_before_ns = now_ns + FULL_NS;
        return NULL;
    }
    due = deadline_set_expire(set, at, now_ns);
    return due ? container_of(due, struct access_tick, deadline)->owner : NULL;
}

void access_expire(struct access *access, uint64_t now_ns)
{
    void *owner;
    size_t at = 0;

    while ((owner = next_due(access, &access->tcp.set, &at, now_ns)))
        say_live_conn(access, owner, now_ns);
    at = 0;
    while ((owner = next_due(access, &access->udp.set, &at, now_ns)))
        say_live_session(access, owner, now_ns);
}

uint64_t access_next_due_ns(const struct access *access)
{
    uint64_t due_ns = deadline_set_earliest(&access->tcp.set,
                                            deadline_set_earliest(&access->udp.set, UINT64_MAX));

    return due_ns < access->not_before_ns ? access->not_before_ns : due_ns;
}

/* --- lines ------------------------------------------------------------------------------------ */

static uint64_t connect_end_ns(const struct conn *conn, uint64_t now_ns)
{
    bool is_connected = conn->state > CONN_WAITING && conn->connected_ns != 0;

    return is_connected ? conn->connected_ns : now_ns;
}

void access_note_conn(struct access_line *line, const struct conn *conn, uint64_t now_ns)
{
    line->is_udp = false;
    line->is_wanted = service_plan(conn->service)->logs_access;
    line->is_debug = !line->is_wanted && log_is_on(LOG_LEVEL_DEBUG);
    if (!line->is_wanted && !line->is_debug)
        return;
    line->values[CLIENT].addr = &conn->peer;
    line->values[SERVICE].text = conn->service->name;
    line->values[SERVER].text = conn->backend ? conn->backend->name : NULL;
    line->values[LISTENER].addr = NULL;
    line->values[QUEUE].number = parking_waited_ns(conn, now_ns);
    line->values[CONNECT].number =
        connect_end_ns(conn, now_ns) - conn->accepted_ns - line->values[QUEUE].number;
    line->values[TOTAL].number = now_ns - conn->accepted_ns;
    line->values[IN].number = conn->up.n_received;
    line->values[OUT].number = conn->down.n_received;
    line->values[REASON].text = close_reason_word(conn->reason);
    line->values[TRIES].number = conn->n_tries;
    if (addr_is_unix(&conn->peer))
        addr_unix(conn->peer.un.number, &line->asked);
    if (line->is_wanted &&
        (addr_is_unix(&conn->peer) || sock_local(conn->client.source.fd, &line->asked) == 0))
        line->values[LISTENER].addr = &line->asked;
}

void access_note_session(struct access_line *line, const struct udp_session *session,
                         const char *reason, uint64_t now_ns)
{
    line->is_udp = true;
    line->is_wanted = service_plan(session->service)->logs_access;
    line->is_debug = !line->is_wanted && log_is_on(LOG_LEVEL_DEBUG);
    if (!line->is_wanted && !line->is_debug)
        return;
    line->asked = session->entry.key.asked;
    line->values[CLIENT].addr = &session->entry.key.client;
    line->values[SERVICE].text = session->service->name;
    line->values[SERVER].text = session->backend ? session->backend->name : NULL;
    line->values[LISTENER].addr = &line->asked;
    line->values[QUEUE].number = 0;
    line->values[CONNECT].number = 0;
    line->values[TOTAL].number = now_ns - session->began_ns;
    line->values[IN].number = session->bytes_in;
    line->values[OUT].number = session->bytes_out;
    line->values[REASON].text = reason;
    line->values[TRIES].number = session->n_binds;
    line->values[TRANSPORT].text = "udp";
    line->values[DATAGRAMS_IN].number = session->n_datagrams_in;
    line->values[DATAGRAMS_OUT].number = session->n_datagrams_out;
}

static void debug_conn(const union log_value *values)
{
    char client[ADDR_TEXT_MAX];

    log_debug("closed service=%s server=%s client=%s reason=%s in=%llu out=%llu ms=%llu",
              values[SERVICE].text, values[SERVER].text ? values[SERVER].text : "-",
              addr_format(values[CLIENT].addr, client), values[REASON].text,
              (unsigned long long)values[IN].number, (unsigned long long)values[OUT].number,
              (unsigned long long)(values[TOTAL].number / CLOCK_NS_PER_MS));
}

static void debug_session(const union log_value *values)
{
    char client[ADDR_TEXT_MAX];
    char asked[ADDR_TEXT_MAX];

    log_debug("udp session closed service=%s server=%s client=%s asked=%s reason=%s in=%llu "
              "out=%llu datagrams_in=%llu datagrams_out=%llu ms=%llu",
              values[SERVICE].text, values[SERVER].text ? values[SERVER].text : "-",
              addr_format(values[CLIENT].addr, client), addr_format(values[LISTENER].addr, asked),
              values[REASON].text, (unsigned long long)values[IN].number,
              (unsigned long long)values[OUT].number,
              (unsigned long long)values[DATAGRAMS_IN].number,
              (unsigned long long)values[DATAGRAMS_OUT].number,
              (unsigned long long)(values[TOTAL].number / CLOCK_NS_PER_MS));
}

void access_say(const struct access_line *line)
{
    if (line->is_wanted)
        log_values(LOG_LEVEL_INFO, line->is_udp ? &udp_form : &tcp_form, line->values);
    else if (line->is_debug && line->is_udp)
        debug_session(line->values);
    else if (line->is_debug)
        debug_conn(line->values);
}
