#include "lb4/relay/refuse.h"

#include <errno.h>
#include <sys/socket.h>

#include "lb4/base/clock.h"
#include "lb4/base/log.h"
#include "lb4/base/sock.h"
#include "lb4/relay/tcp.h"
#include "lb4/shared/reserve.h"
#include "lb4/shared/service_table.h"

static const uint64_t LEAVING_NS = 1000 * 1000000ull; /* chosen: a few round trips */

enum {
    LEAVING_MAX = 256,         /* connections of a worker that are CONN_LEAVING; chosen */
    LEAVING_BYTES = 64 * 1024, /* that are thrown away of each; chosen */
};

enum { SERVICE, REASON, CLIENTS, SECONDS, CLIENT, KEYS };

static const struct log_key keys[KEYS] = {
    [SERVICE] = {"service", LOG_TEXT},   [REASON] = {"reason", LOG_TEXT},
    [CLIENTS] = {"clients", LOG_NUMBER}, [SECONDS] = {"seconds", LOG_NUMBER},
    [CLIENT] = {"client", LOG_ADDR},
};

static const struct log_form form = {"refused", keys, KEYS};

int refuse_init(struct refuse *refuse, struct stats_block *stats, struct deadline_set *deadlines)
{
    *refuse = (struct refuse){.stats = stats, .due_ns = UINT64_MAX};
    refuse->untold = reserve_memory(SERVICE_TABLE_MAX, sizeof(struct service *));
    refuse->leaving = deadline_set_list(deadlines, LEAVING_NS, 0);
    return refuse->untold && refuse->leaving ? 0 : -ENOMEM;
}

void refuse_fini(struct refuse *refuse)
{
    reserve_release(refuse->untold, SERVICE_TABLE_MAX, sizeof(struct service *));
    refuse->untold = NULL;
}

/* --- the log ---------------------------------------------------------------------------------- */

static void say(const struct service *service, enum refusal why, const struct refusal_told *told)
{
    unsigned seconds = (unsigned)((told->over_ns + CLOCK_NS_PER_S / 2) / CLOCK_NS_PER_S);
    const char *word = refusal_word(why);
    char client[ADDR_TEXT_MAX] = "-";
    const union log_value values[KEYS] = {
        [SERVICE] = {.text = service->name},
        [REASON] = {.text = word},
        [CLIENTS] = {.number = told->n},
        [SECONDS] = {.number = seconds},
        [CLIENT] = {.addr = told->has_last ? &told->last : NULL},
    };

    if (!log_is_on(LOG_LEVEL_INFO))
        return;
    if (told->has_last)
        addr_format(&told->last, client);
    if (told->over_ns == 0 && told->n == 1)
        log_told(LOG_LEVEL_INFO, &form, values, "refused client %s of %s: %s", client,
                 service->name, word);
    else
        log_told(LOG_LEVEL_INFO, &form, values, "refused %u client%s of %s in %u s: %s, last %s",
                 told->n, told->n == 1 ? "" : "s", service->name, seconds, word, client);
}

static void look_again(struct refuse *refuse, struct service *service, uint64_t due_ns)
{
    refuse->untold[service->index] = service;
    if (service->index >= refuse->n_untold)
        refuse->n_untold = service->index + 1;
    if (due_ns < refuse->due_ns)
        refuse->due_ns = due_ns;
}

void refuse_tell(struct refuse *refuse, struct service *service, const struct addr *client,
                 enum refusal why, uint64_t now_ns)
{
    struct refusal_note *note = &service->refused[why];
    struct refusal_told told;

    stats_add(&refuse->stats->services[service->index].refused.clients[why], 1);
    if (refusal_note_add(note, client, now_ns, &told))
        say(service, why, &told);
    else
        look_again(refuse, service, refusal_note_due_ns(note));
}

/* Returns when there is more to say of the service. */
static uint64_t tell_rest(struct service *service, uint64_t now_ns)
{
    uint64_t due_ns = UINT64_MAX;

    for (int i = 0; i < REFUSALS; i++) {
        struct refusal_note *note = &service->refused[i];
        struct refusal_told told;

        if (refusal_note_look(note, now_ns, &told))
            say(service, (enum refusal)i, &told);
        if (refusal_note_due_ns(note) < due_ns)
            due_ns = refusal_note_due_ns(note);
    }
    return due_ns;
}

void refuse_expire(struct refuse *refuse, uint64_t now_ns)
{
    size_t n = refuse->n_untold;

    if (now_ns < refuse->due_ns)
        return;
    refuse->due_ns = UINT64_MAX;
    refuse->n_untold = 0;
    for (size_t i = 0; i < n; i++) {
        struct service *service = refuse->untold[i];
        uint64_t due_ns = service ? tell_rest(service, now_ns) : UINT64_MAX;

        refuse->untold[i] = NULL;
        if (due_ns != UINT64_MAX)
            look_again(refuse, service, due_ns);
    }
}

/* --- connections ------------------------------------------------------------------------------ */

void refuse_on_timeout(struct tcp_relay *relay, struct conn *conn)
{
    conn_close(relay, conn, conn->reason, CONN_END_CLOSE);
}

_Static_assert((int)LEAVING_BYTES <= (int)FLOW_SPARE_BYTES, "never more than the buffer has");

/* MSG_TRUNC: bytes of TCP are thrown away without being copied (tcp(7)); those of a Unix socket are
 * copied, and the buffer is named also for those who look at calls from outside, such as
 * sanitizers. */
void refuse_on_client(struct tcp_relay *relay, struct conn *conn)
{
    ssize_t n;

    do {
        n = recv(conn->client.source.fd, flow_spare(&relay->flow), LEAVING_BYTES,
                 MSG_TRUNC | MSG_DONTWAIT);
        if (n > 0)
            conn->n_discarded += (uint32_t)n;
    } while ((n > 0 && conn->n_discarded < LEAVING_BYTES) || (n < 0 && errno == EINTR));
    if (n < 0 && sock_would_block(-errno))
        return;
    conn_close(relay, conn, conn->reason, CONN_END_CLOSE);
}

static void see_off(struct tcp_relay *relay, struct conn *conn, enum close_reason reason)
{
    if (relay->refuse.n_leaving >= LEAVING_MAX || shutdown(conn->client.source.fd, SHUT_WR) < 0) {
        conn_close(relay, conn, reason, CONN_END_CLOSE);
        return;
    }
    conn->reason = reason;
    conn->state = CONN_LEAVING;
    conn->n_discarded = 0;
    relay->refuse.n_leaving++;
    deadline_start(relay->refuse.leaving, &conn->deadline, relay->loop->now_ns);
    refuse_on_client(relay, conn);
}

void refuse_conn(struct tcp_relay *relay, struct conn *conn, enum refusal why)
{
    enum close_reason reason = admit_close_reason(why);

    refuse_tell(&relay->refuse, conn->service, &conn->peer, why, relay->loop->now_ns);
    switch (service_plan(conn->service)->refuse) {
    case CONF_REFUSE_UNSET:
    case CONF_REFUSE_RESET:
        conn_close(relay, conn, reason, CONN_END_RESET);
        break;
    case CONF_REFUSE_CLOSE:
        see_off(relay, conn, reason);
        break;
    case CONF_REFUSE_SILENT:
        conn_close(relay, conn, reason, CONN_END_SILENT);
        break;
    }
}
