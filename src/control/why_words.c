#include "lb4/control/why_words.h"

#include <stdio.h>

#include "lb4/base/clock.h"
#include "lb4/shared/choice.h"

static const double CERTAIN = 0.9999; /* shared/foresee.h */

static bool is_certain(const struct foreseen *server)
{
    return server->odds > CERTAIN;
}

static double load_of(const struct foreseen *server)
{
    uint32_t weight = server->standing & PICK_WEIGHT_MASK;

    return (server->active + 1.0) / (weight ? weight : 1);
}

const char *why_score(const struct foresight *foresight, size_t index,
                      char text[static WHY_SCORE_MAX])
{
    const struct foreseen *server = &foresight->servers[index];
    size_t n = foresight->plan->n_sequence;

    snprintf(text, WHY_SCORE_MAX, "-");
    switch (foresight->plan->balance) {
    case CONF_BALANCE_LEASTCONN:
        snprintf(text, WHY_SCORE_MAX, "%.2f", load_of(server));
        break;
    case CONF_BALANCE_ROUNDROBIN:
        if (server->queue > 0)
            snprintf(text, WHY_SCORE_MAX, "turn %u, %u of %zu", server->queue, server->turns, n);
        break;
    case CONF_BALANCE_SOURCE:
        if (server->queue > 0)
            snprintf(text, WHY_SCORE_MAX, "place %u", server->queue);
        break;
    case CONF_BALANCE_RANDOM:
        snprintf(text, WHY_SCORE_MAX, "%u of %zu turns, load %.2f", server->turns, n,
                 load_of(server));
        break;
    }
    return text;
}

const char *why_chance(const struct foreseen *server, char text[static WHY_CHANCE_MAX])
{
    if (server->odds <= 0 || is_certain(server))
        snprintf(text, WHY_CHANCE_MAX, "%s", server->odds <= 0 ? "no" : "yes");
    else if (server->odds < 0.01)
        snprintf(text, WHY_CHANCE_MAX, "below 1 %%");
    else
        snprintf(text, WHY_CHANCE_MAX, "%.0f %%", 100 * server->odds);
    return text;
}

/* --- reasons -------------------------------------------------------------------------------------
 */

/* Not to be chosen at all; the first that fits, as in snapshot_state(). */
static const char *away_word(uint32_t standing)
{
    if (standing & PICK_GONE)
        return "removed from the configuration";
    if (standing & PICK_MAINT)
        return "in maintenance";
    if (standing & PICK_DRAIN)
        return "draining";
    return standing & PICK_NEW ? "waits for its first probe" : "down";
}

static bool is_suspect(uint32_t standing)
{
    return (standing & (PICK_SUSPECT | PICK_TRIAL)) == PICK_SUSPECT;
}

enum { FRONT_MAX = 80, PART_MAX = 96 };

/* Why one that is usually kept back is in the running. */
static const char *front_word(const struct foreseen *server, char text[static FRONT_MAX])
{
    uint32_t standing = server->standing;

    if (server->rank < PICK_RANK_SUSPECT)
        return "down, but nobody is usable: ";
    if (is_suspect(standing))
        return "suspect, but there is nobody else: ";
    if (standing & PICK_SUSPECT)
        return "suspect, and the next client may try it: ";
    if (standing & PICK_BACKUP)
        return "backup, and no primary is up: ";
    snprintf(text, FRONT_MAX, "priority %u, and nobody before it is up: ", pick_tier(standing) + 1);
    return pick_tier(standing) > 0 ? text : "";
}

/* slow-start: how much of its share it has. */
static const char *part_word(const struct foresight *foresight, const struct foreseen *server,
                             char text[static PART_MAX])
{
    uint32_t part = pick_part(server->standing);

    if (part == 0 || !foresight->has_ramps || server->rank < PICK_RANK_HEALTHY)
        return "";
    if (part == PICK_PART_LEVEL)
        return "; slow-start: it catches up, with at most twice its part of the choices";
    snprintf(text, PART_MAX, "; slow-start: it has %u/%u of its part of the choices", part,
             (unsigned)PICK_PART_WHOLE);
    return text;
}

/* Every second choice passes over one that came back a moment ago, if others of its rank did not.
 */
static bool is_spared(const struct foresight *foresight, const struct foreseen *server)
{
    if (!(server->standing & PICK_FRESH) || !choice_follows_load(foresight->plan))
        return false;
    for (size_t i = 0; i < foresight->n; i++)
        if (foresight->servers[i].rank == server->rank &&
            !(foresight->servers[i].standing & PICK_FRESH))
            return true;
    return false;
}

/* Is one of its rank less loaded? Then it is taken only where that one is spared. */
static bool is_outdone(const struct foresight *foresight, const struct foreseen *server)
{
    for (size_t i = 0; i < foresight->n; i++)
        if (foresight->servers[i].rank == server->rank &&
            load_of(&foresight->servers[i]) < load_of(server))
            return true;
    return false;
}

static const char *by_load(const struct foresight *foresight, const struct foreseen *server)
{
    if (server->odds <= 0)
        return "more loaded than";
    if (is_certain(server))
        return "the least loaded";
    if (foresight->has_ramps)
        return pick_part(server->standing) ? "the turn may be its"
                                           : "as little loaded as any with its full share";
    if (is_outdone(foresight, server))
        return "the least loaded of those that did not come back a moment ago";
    return is_spared(foresight, server) ? "as little loaded as any"
                                        : "as little loaded as others: drawn at random";
}

static const char *by_turn(const struct foreseen *server)
{
    if (server->odds <= 0)
        return "its turn comes later than that of";
    if (!is_certain(server) && pick_part(server->standing))
        return "the turn may be its";
    return server->queue == 1 ? "the next turn is its" : "the first in turn that is usable";
}

static const char *by_place(const struct foreseen *server)
{
    if (!is_certain(server))
        return "the client comes first to";
    return server->queue == 1 ? "the client's place is its" : "the first on its way that is usable";
}

static const char *by_draw(const struct foreseen *server)
{
    if (server->odds <= 0)
        return "more loaded than whoever is drawn with it";
    return is_certain(server) ? "the only one to be drawn, or never the more loaded of two"
                              : "of two that are drawn the less loaded is taken";
}

/* In the best rank: what the policy says. A rank of one needs no policy. */
static const char *in_rank(const struct foresight *foresight, const struct foreseen *server)
{
    if (server->queue == 0 && foresight->plan->balance != CONF_BALANCE_RANDOM)
        return by_load(foresight, server);
    switch (foresight->plan->balance) {
    case CONF_BALANCE_LEASTCONN:
        break;
    case CONF_BALANCE_ROUNDROBIN:
        return by_turn(server);
    case CONF_BALANCE_SOURCE:
        return by_place(server);
    case CONF_BALANCE_RANDOM:
        return by_draw(server);
    }
    return by_load(foresight, server);
}

/* Does the sentence end with the name of another? */
static bool names_another(const struct foresight *foresight, const struct foreseen *server)
{
    return server->odds <= 0 && foresight->plan->balance != CONF_BALANCE_RANDOM;
}

static const char *fresh_word(const struct foresight *foresight, const struct foreseen *server)
{
    return server->odds > 0 && is_spared(foresight, server) && !pick_part(server->standing)
               ? "; came back a moment ago, passed over every second time"
               : "";
}

static bool is_held_at(const struct foresight *foresight, size_t index)
{
    return foresight->affinity.is_held && foresight->affinity.place == index;
}

const char *why_reason(const struct foresight *foresight, size_t index, const char *note,
                       const char *taken, char text[static WHY_TEXT_MAX])
{
    const struct foreseen *server = &foresight->servers[index];
    const char *colon = *note ? ": " : "";
    bool tells = server->standing & (PICK_SUSPECT | PICK_DOWN); /* of others all is well */
    const char *other = taken && names_another(foresight, server) ? taken : "";
    char front[FRONT_MAX];
    char part[PART_MAX];

    if (is_held_at(foresight, index))
        snprintf(text, WHY_TEXT_MAX, "affinity: the client's last one went there");
    else if (server->standing & PICK_FULL && server->odds <= 0 &&
             !(server->standing & PICK_UNUSABLE))
        snprintf(text, WHY_TEXT_MAX, "full: it has %u connections, as many as it may",
                 server->active);
    else if (server->rank == PICK_RANK_NONE)
        snprintf(text, WHY_TEXT_MAX, "%s%s%s", away_word(server->standing), colon, note);
    else if (foresight->affinity.is_held && server->rank == foresight->best_rank)
        snprintf(text, WHY_TEXT_MAX, "affinity: the client goes to %s", taken ? taken : "another");
    else if (server->rank == foresight->best_rank)
        snprintf(text, WHY_TEXT_MAX, "%s%s%s%s%s%s%s%s", front_word(server, front),
                 in_rank(foresight, server), *other ? " " : "", other,
                 fresh_word(foresight, server), part_word(foresight, server, part),
                 tells && *note ? "; " : "", tells ? note : "");
    else if (is_suspect(server->standing) && !(server->standing & PICK_UNUSABLE))
        snprintf(text, WHY_TEXT_MAX, "suspect, only if there is nobody above suspicion%s%s", colon,
                 note);
    else if (server->standing & PICK_UNUSABLE)
        snprintf(text, WHY_TEXT_MAX, "%s, only if nobody is usable%s%s",
                 away_word(server->standing), colon, note);
    else if (!(server->standing & PICK_BACKUP))
        snprintf(text, WHY_TEXT_MAX, "priority %u: not while one before it is up",
                 pick_tier(server->standing) + 1);
    else
        snprintf(text, WHY_TEXT_MAX, "backup: not while a primary is up");
    return text;
}

/* "57 s more, and while it has its 2 connections" */
static const char *time_words(const struct affinity_view *view, char text[static PART_MAX])
{
    unsigned long long left_s = (view->left_ns + CLOCK_NS_PER_S - 1) / CLOCK_NS_PER_S;

    if (view->n_live == 0)
        snprintf(text, PART_MAX, "for %llu s more", left_s);
    else
        snprintf(text, PART_MAX, "for %llu s more, and while it has any of its %u", left_s,
                 view->n_live);
    return text;
}

const char *why_affinity(const struct foresight *foresight, const char *server,
                         char text[static WHY_AFFINITY_MAX])
{
    const struct affinity_view *view = &foresight->affinity;
    char time[PART_MAX];

    if (!view->is_known)
        snprintf(text, WHY_AFFINITY_MAX,
                 "Affinity: nothing is known of the client, so the policy decides.");
    else if (view->is_held)
        snprintf(text, WHY_AFFINITY_MAX, "Affinity: the client stays with %s, %s.", server,
                 time_words(view, time));
    else
        snprintf(text, WHY_AFFINITY_MAX,
                 "Affinity: %s, where the client's last one went, %s: the policy decides, and the "
                 "client stays where that sends it.",
                 view->is_present ? server : "the server", view->why);
    return text;
}
