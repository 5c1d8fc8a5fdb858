#include "storm.h"

#include <stdio.h>

#include "tag.h"

enum { CAP_COMPLAINTS = 20 };

static const char *const verdict_names[END_N_VERDICTS] = {
    [END_OPEN] = "open",       [END_OK] = "ok",       [END_WRONG_END] = "wrong_end",
    [END_SHORT] = "short",     [END_STUCK] = "stuck", [END_MISMATCHED] = "mismatched",
    [END_FOREIGN] = "foreign",
};

static void print_fault(const struct end *end)
{
    if (end->verdict < END_MISMATCHED || !end->plan)
        return;
    fprintf(stderr, "  first wrong byte at %llu of the stream %s",
            (unsigned long long)end->fault.offset, end->side == PLAN_SERVER ? "up" : "down");
    if (end->fault.has_genuine)
        fprintf(stderr, "; there stands block %llu (byte %llu) of connection %u %s",
                (unsigned long long)end->fault.block,
                (unsigned long long)end->fault.block * TAG_BLOCK_BYTES, end->fault.stream.id,
                end->fault.stream.direction == TAG_UP ? "up" : "down");
    fputc('\n', stderr);
}

void storm_complain(struct storm *storm, const struct end *end)
{
    static const char *const sides[] = {"client", "server", "nobody"};

    if (end->verdict <= END_OK || storm->n_complaints++ >= CAP_COMPLAINTS)
        return;
    fprintf(stderr, "connection %u, %s end: %s\n", end->id, sides[end->side],
            verdict_names[end->verdict]);
    print_fault(end);
    if (!end->plan)
        return;
    const struct plan_end *own = &end->plan->ends[end->side];
    fprintf(stderr,
            "  received %llu of %llu, sent %llu of %llu, order %d, resetter %s at %llu%s%s\n",
            (unsigned long long)end->n_received, (unsigned long long)own->receive_bytes,
            (unsigned long long)end->n_sent, (unsigned long long)own->send_bytes, end->plan->order,
            sides[end->plan->resetter], (unsigned long long)end->plan->reset_at_bytes,
            end->has_seen_fin ? ", saw FIN" : "", end->has_seen_reset ? ", saw RST" : "");
}

/* An early reset may overtake its own header, and then no server end ever bears its name. */
static enum end_verdict conn_verdict(const struct conn *conn)
{
    enum end_verdict client = conn->verdicts[PLAN_CLIENT], server = conn->verdicts[PLAN_SERVER];
    bool may_be_unseen = conn->plan.resetter == PLAN_CLIENT && conn->plan.is_early_reset;

    if (!conn->is_server_seen)
        server = may_be_unseen ? END_OK : END_SHORT;
    return client > server ? client : server;
}

static void print_unseen(const struct storm *storm)
{
    for (uint32_t i = 0; i < storm->n_conns; i++) {
        const struct conn *conn = &storm->conns[i];
        if (!conn->is_server_seen && conn_verdict(conn) != END_OK)
            fprintf(stderr, "connection %u: no server end; client end %s\n", i,
                    verdict_names[conn->verdicts[PLAN_CLIENT]]);
    }
}

static void count_verdicts(const struct storm *storm, uint32_t counts[END_N_VERDICTS])
{
    uint32_t n_unseen = 0;

    for (uint32_t i = 0; i < storm->n_conns; i++) {
        counts[conn_verdict(&storm->conns[i])]++;
        n_unseen += !storm->conns[i].is_server_seen;
    }
    counts[END_STUCK] += storm->n_nameless_stuck;
    counts[END_WRONG_END] += storm->n_nameless_bad;
    if (storm->n_nameless_reset > n_unseen)
        counts[END_WRONG_END] += storm->n_nameless_reset - n_unseen;
}

static void count_plans(const struct storm *storm, uint32_t counts[3], uint32_t *ret_early)
{
    *ret_early = 0;
    for (uint32_t i = 0; i < storm->n_conns; i++) {
        counts[storm->conns[i].plan.resetter]++;
        *ret_early += storm->conns[i].plan.is_early_reset;
    }
}

int storm_report(const struct storm *storm, uint64_t took_ns)
{
    uint32_t counts[END_N_VERDICTS] = {0}, resetters[3] = {0}, n_early;
    double seconds = (double)took_ns / 1e9;

    print_unseen(storm);
    count_verdicts(storm, counts);
    count_plans(storm, resetters, &n_early);
    printf("planned: ends by FIN %u, by the client's RST %u (early %u), by the server's RST %u\n",
           resetters[PLAN_NOBODY], resetters[PLAN_CLIENT], n_early, resetters[PLAN_SERVER]);
    printf("accepted without a header: blank %u, reset %u, other %u\n", storm->n_nameless_blank,
           storm->n_nameless_reset, storm->n_nameless_bad);
    printf("seed=%llu seconds=%.1f MB_per_second=%.0f\n", (unsigned long long)storm->limits.seed,
           seconds, (double)storm->n_bytes / 1e6 / seconds);
    printf("connections=%u ok=%u mismatched=%u foreign=%u short=%u stuck=%u wrong_end=%u "
           "bytes=%llu\n",
           storm->n_conns, counts[END_OK], counts[END_MISMATCHED], counts[END_FOREIGN],
           counts[END_SHORT], counts[END_STUCK], counts[END_WRONG_END],
           (unsigned long long)storm->n_bytes);
    bool is_clean =
        counts[END_OK] == storm->n_conns && counts[END_STUCK] == 0 && counts[END_WRONG_END] == 0;
    return is_clean ? 0 : 1;
}
