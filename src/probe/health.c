#include "lb4/probe/health.h"

void health_init(struct health *health, uint64_t now_ns)
{
    *health = (struct health){.is_usable = true, .changed_ns = now_ns};
}

/* Does the outcome turn the state? Counts it if not. */
static bool is_turning(struct health *health, const struct health_rules *rules,
                       enum health_outcome outcome, bool is_suspect)
{
    uint32_t needed = health->is_usable ? rules->fall : rules->rise;

    if ((outcome == HEALTH_OK) == health->is_usable) {
        health->n_against = 0;
        return false;
    }
    health->n_against++;
    return health->n_against >= needed || !health->is_judged ||
           (is_suspect && outcome == HEALTH_REFUSED);
}

/* At most 2 * 200 * 365 days, which is 1.3e19 ns: fits. */
uint64_t health_hold_ns(const struct health_rules *rules)
{
    return 2 * ((uint64_t)rules->fall + rules->rise) * rules->interval_ns;
}

static bool is_held(const struct health *health, const struct health_rules *rules, uint64_t now_ns)
{
    return health->has_fallen && now_ns - health->fell_ns < health_hold_ns(rules);
}

static enum health_report report_fall(struct health *health, uint64_t now_ns)
{
    health->is_flapping = false;
    health->has_fallen = true;
    health->fell_ns = now_ns;
    health->n_falls = 1;
    return HEALTH_DOWN;
}

static enum health_report report_turn(struct health *health, const struct health_rules *rules,
                                      uint64_t now_ns)
{
    if (health->is_usable)
        return HEALTH_UP;
    if (!is_held(health, rules, now_ns))
        return report_fall(health, now_ns);
    health->is_flapping = true;
    return HEALTH_FLAPPING;
}

static enum health_report report_end_of_hold(struct health *health,
                                             const struct health_rules *rules, uint64_t now_ns)
{
    if (is_held(health, rules, now_ns))
        return HEALTH_NOTHING;
    if (health->is_usable) {
        health->is_flapping = false;
        return HEALTH_STEADY;
    }
    /* A first success is no news of a fall: either a failure follows, or it is usable in the end.
     */
    return health->n_against > 0 ? HEALTH_NOTHING : report_fall(health, now_ns);
}

static void turn(struct health *health, uint64_t now_ns)
{
    health->is_usable = !health->is_usable;
    health->n_against = 0;
    health->changed_ns = now_ns;
    if (!health->is_usable && health->n_falls < UINT32_MAX)
        health->n_falls++;
}

static enum health_report report(struct health *health, const struct health_rules *rules,
                                 bool has_turned, uint64_t now_ns)
{
    if (health->is_flapping)
        return report_end_of_hold(health, rules, now_ns);
    return has_turned ? report_turn(health, rules, now_ns) : HEALTH_NOTHING;
}

enum health_report health_take(struct health *health, const struct health_rules *rules,
                               enum health_outcome outcome, bool is_suspect, uint64_t now_ns)
{
    bool has_turned;

    if (outcome == HEALTH_UNKNOWN)
        return HEALTH_NOTHING;
    has_turned = is_turning(health, rules, outcome, is_suspect);
    health->is_judged = true;
    if (has_turned)
        turn(health, now_ns);
    return report(health, rules, has_turned, now_ns);
}

enum health_report health_decide(struct health *health, const struct health_rules *rules,
                                 bool is_usable, uint64_t now_ns)
{
    bool has_turned = health->is_usable != is_usable;

    health->is_judged = true;
    if (has_turned)
        turn(health, now_ns);
    return report(health, rules, has_turned, now_ns);
}

bool health_is_changing(const struct health *health)
{
    return health->n_against > 0;
}
