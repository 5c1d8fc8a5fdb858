#include "end.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net.h"

enum {
    CHUNK_BYTES = 64 << 10,
    TINY_BYTES = 100,
    TINY_UNTIL_BYTES = 256 << 10,
    CALLS_PER_STEP = 16, /* so that no connection starves the others */
};

static const uint64_t ns_per_ms = 1000000u;
static uint8_t scratch[CHUNK_BYTES];

void end_init(struct end *end, int fd, enum plan_side side, const struct plan *plan)
{
    memset(end, 0, sizeof(*end));
    end->fd = fd;
    end->side = side;
    end->plan = plan;
    end->is_connected = side == PLAN_SERVER;
    end->random = (uint64_t)fd;
    end->progress_ns = net_now_ns();
}

static void finish(struct end *end, enum end_verdict verdict, bool is_reset)
{
    end->verdict = verdict;
    if (end->fd < 0)
        return;
    if (is_reset)
        net_close_reset(end->fd);
    else
        close(end->fd);
    end->fd = -1;
}

void end_abort(struct end *end, enum end_verdict verdict)
{
    finish(end, end->verdict == END_OPEN ? verdict : end->verdict, true);
}

bool end_has_header(const struct end *end)
{
    return end->n_received >= PLAN_HEADER_BYTES;
}

bool end_identify(struct end *end, uint32_t id, const struct plan *plan)
{
    uint8_t wanted[PLAN_HEADER_BYTES];

    plan_write_header(plan, id, wanted);
    end->id = id;
    end->plan = plan;
    end->is_peer_known = true;
    if (memcmp(wanted, end->header, sizeof(wanted)) != 0)
        finish(end, END_MISMATCHED, true);
    return end->verdict == END_OPEN;
}

static const struct plan_end *own_plan(const struct end *end)
{
    return &end->plan->ends[end->side];
}

static bool is_resetter(const struct end *end)
{
    return end->plan->resetter == end->side;
}

static bool expects_reset(const struct end *end)
{
    return end->plan->resetter != PLAN_NOBODY && !is_resetter(end);
}

static size_t chunk_size(struct end *end, uint64_t n_moved)
{
    if (own_plan(end)->pace == PLAN_TINY_CHUNKS && n_moved < TINY_UNTIL_BYTES)
        return TINY_BYTES;
    return 1 + tag_random(&end->random) % CHUNK_BYTES;
}

/* --- receiving --- */

static struct tag_stream incoming_stream(const struct end *end)
{
    return (struct tag_stream){end->id, end->side == PLAN_SERVER ? TAG_UP : TAG_DOWN};
}

static void check_received(struct end *end, size_t length)
{
    enum tag_result result =
        tag_check(incoming_stream(end), end->n_received, scratch, length, &end->fault);

    switch (result) {
    case TAG_SAME:
        break;
    case TAG_DIFFERENT:
        finish(end, END_MISMATCHED, true);
        return;
    case TAG_FOREIGN:
        finish(end, END_FOREIGN, true);
        return;
    }
    end->n_received += length;
    if (end->n_received > own_plan(end)->receive_bytes) {
        end->fault = (struct tag_fault){.offset = own_plan(end)->receive_bytes};
        finish(end, END_MISMATCHED, true);
    }
}

/* Receive at most @length bytes into @buffer; ends of the stream are noted in @end.
 * Returns the number of bytes, 0 if there is nothing more to get now. */
static size_t receive(struct end *end, void *buffer, size_t length, uint64_t now_ns)
{
    ssize_t got = recv(end->fd, buffer, length, 0);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    end->progress_ns = now_ns;
    if (got < 0)
        end->has_seen_reset = true;
    else if (got == 0)
        end->has_seen_fin = !end->has_seen_reset || end->has_seen_fin;
    return got > 0 ? (size_t)got : 0;
}

static void read_header(struct end *end, uint64_t now_ns)
{
    size_t got = receive(end, end->header + end->n_received,
                         PLAN_HEADER_BYTES - (size_t)end->n_received, now_ns);

    end->n_received += got;
}

static void begin_due_stall(struct end *end, uint64_t now_ns)
{
    const struct plan_end *plan = own_plan(end);

    if (end->n_stalls_done == plan->n_stalls ||
        end->n_received < plan->stalls[end->n_stalls_done].at_bytes)
        return;
    uint32_t pause_ms = plan->stalls[end->n_stalls_done].pause_ms;
    end->stall_until_ns = now_ns + pause_ms * ns_per_ms;
    end->n_stalls_done++;
}

static bool is_stalled(const struct end *end, uint64_t now_ns)
{
    return end->stall_until_ns > now_ns;
}

static void read_stream(struct end *end, uint64_t now_ns)
{
    for (int i = 0; i < CALLS_PER_STEP && end->verdict == END_OPEN; i++) {
        begin_due_stall(end, now_ns);
        if (is_stalled(end, now_ns))
            return;
        size_t got = receive(end, scratch, chunk_size(end, end->n_received), now_ns);
        if (got == 0)
            return;
        check_received(end, got);
    }
}

/* Once the reset is known (a send may learn of it first) the kernel still holds what arrived before
 * it; the error is reported once and then recv says 0, which is no FIN. */
static void read_remainder(struct end *end, uint64_t now_ns)
{
    size_t got;

    do {
        got = receive(end, scratch, sizeof(scratch), now_ns);
        if (got > 0)
            check_received(end, got);
    } while (got > 0 && end->verdict == END_OPEN);
}

/* --- sending --- */

static uint64_t send_target(const struct end *end)
{
    return is_resetter(end) ? end->plan->reset_at_bytes : own_plan(end)->send_bytes;
}

/* How far the plan lets this end send at present. */
static uint64_t send_allowed(const struct end *end)
{
    uint64_t target = send_target(end);

    if (end->has_seen_fin)
        return target;
    if (end->plan->order == PLAN_REQUEST_THEN_ANSWER && end->side == PLAN_SERVER)
        return 0;
    if (end->plan->order == PLAN_ANSWER_THEN_UPLOAD && end->side == PLAN_CLIENT)
        return target < PLAN_HEADER_BYTES ? target : PLAN_HEADER_BYTES;
    return target;
}

static void fill_chunk(const struct end *end, size_t length)
{
    struct tag_stream stream = {end->id, end->side == PLAN_CLIENT ? TAG_UP : TAG_DOWN};

    tag_fill(stream, end->n_sent, scratch, length);
    if (end->side == PLAN_CLIENT && end->n_sent < PLAN_HEADER_BYTES) {
        uint8_t header[PLAN_HEADER_BYTES];
        size_t left = PLAN_HEADER_BYTES - (size_t)end->n_sent;
        plan_write_header(end->plan, end->id, header);
        memcpy(scratch, header + end->n_sent, left < length ? left : length);
    }
}

static void write_stream(struct end *end, uint64_t now_ns)
{
    uint64_t allowed = send_allowed(end);

    for (int i = 0; i < CALLS_PER_STEP && end->n_sent < allowed; i++) {
        size_t length = chunk_size(end, end->n_sent);
        if (length > allowed - end->n_sent)
            length = (size_t)(allowed - end->n_sent);
        fill_chunk(end, length);
        ssize_t sent = send(end->fd, scratch, length, MSG_NOSIGNAL);
        if (sent < 0) {
            end->has_seen_reset = errno != EAGAIN && errno != EINTR;
            return;
        }
        end->n_sent += (uint64_t)sent;
        end->progress_ns = now_ns;
        if ((size_t)sent < length)
            return;
    }
}

static bool may_send_fin(struct end *end, uint64_t now_ns)
{
    enum plan_order order = end->plan->order;
    bool is_last = (order == PLAN_CLIENT_FIN_LAST && end->side == PLAN_CLIENT) ||
                   (order == PLAN_SERVER_FIN_LAST && end->side == PLAN_SERVER);

    if (is_last && !end->has_seen_fin)
        return false;
    if (end->fin_at_ns == 0)
        end->fin_at_ns = now_ns + own_plan(end)->fin_delay_ms * ns_per_ms;
    return now_ns >= end->fin_at_ns;
}

static bool is_all_sent(const struct end *end)
{
    return end->is_connected && end->n_sent == send_target(end) &&
           end->n_sent == send_allowed(end) &&
           (end->has_seen_fin || end->plan->order != PLAN_REQUEST_THEN_ANSWER ||
            end->side == PLAN_CLIENT);
}

static void end_sending(struct end *end, uint64_t now_ns)
{
    if (end->has_sent_fin || !is_all_sent(end))
        return;
    if (is_resetter(end)) {
        bool must_wait = !end->is_peer_known && !end->plan->is_early_reset;
        if (!must_wait)
            finish(end, END_OK, true);
        return;
    }
    if (may_send_fin(end, now_ns)) {
        end->has_sent_fin = true;
        end->progress_ns = now_ns;
        if (shutdown(end->fd, SHUT_WR) < 0)
            end->has_seen_reset = true;
    }
}

/* --- the whole --- */

static void judge_reset(struct end *end, uint64_t now_ns)
{
    read_remainder(end, now_ns);
    if (end->verdict != END_OPEN)
        return;
    bool is_complete = end->n_received == own_plan(end)->receive_bytes;
    enum end_verdict unplanned = is_complete ? END_WRONG_END : END_SHORT;
    finish(end, expects_reset(end) ? END_OK : unplanned, false);
}

static void judge_fin(struct end *end)
{
    if (expects_reset(end))
        finish(end, END_WRONG_END, false);
    else if (end->n_received < own_plan(end)->receive_bytes)
        finish(end, END_SHORT, false);
    else if (end->has_sent_fin)
        finish(end, END_OK, false);
}

static void note_events(struct end *end, uint32_t events)
{
    if (events & EPOLLOUT)
        end->is_connected = true;
    if (events & (EPOLLERR | EPOLLHUP))
        end->stall_until_ns = 0;
}

void end_step(struct end *end, uint32_t events, uint64_t now_ns)
{
    note_events(end, events);
    if (!end->plan) {
        read_header(end, now_ns);
        return;
    }
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        read_stream(end, now_ns);
    if (end->verdict == END_OPEN && !end->has_seen_reset && end->is_connected)
        write_stream(end, now_ns);
    if (end->verdict == END_OPEN && !end->has_seen_reset)
        end_sending(end, now_ns);
    if (end->verdict == END_OPEN && end->has_seen_reset)
        judge_reset(end, now_ns);
    else if (end->verdict == END_OPEN && end->has_seen_fin)
        judge_fin(end);
}

uint32_t end_interest(const struct end *end, uint64_t now_ns)
{
    uint32_t interest = 0;

    if (!end->plan)
        return EPOLLIN;
    if (!end->has_seen_fin && !is_stalled(end, now_ns))
        interest |= EPOLLIN;
    if (!end->is_connected || end->n_sent < send_allowed(end))
        interest |= EPOLLOUT;
    return interest;
}
