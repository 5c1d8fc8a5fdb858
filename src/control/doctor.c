#include "lb4/control/doctor.h"

#include <inttypes.h>

#include "lb4/base/log.h"
#include "lb4/control/doctor_findings.h"

struct diagnosis {
    bool is_udp_alone;   /* then the ceiling is of no meaning */
    uint32_t n_sessions; /* of UDP, at most */
    struct doctor_ceiling ceiling;
    struct doctor_findings findings;
};

static bool takes_tcp(const struct doctor_facts *facts)
{
    for (size_t i = 0; i < facts->n_services; i++)
        if (facts->services[i].transports & CONF_TCP)
            return true;
    return false;
}

static bool examine(const struct snapshot_from *from, struct diagnosis *ret)
{
    struct doctor_facts facts;

    if (doctor_facts_take(from, &facts) < 0)
        return false;
    ret->is_udp_alone = facts.has_udp && !takes_tcp(&facts);
    ret->n_sessions = facts.budget.udp_sessions;
    doctor_ceiling(&facts, &ret->ceiling);
    doctor_find(&facts, &ret->findings);
    doctor_facts_fini(&facts);
    return true;
}

/* --- the command ---------------------------------------------------------------------------------
 */

static void write_text(struct reply *reply, const struct diagnosis *diagnosis)
{
    const struct doctor_ceiling *ceiling = &diagnosis->ceiling;

    if (diagnosis->is_udp_alone)
        reply_format(reply, "At most %" PRIu32 " UDP sessions at a time; no service takes TCP.\n",
                     diagnosis->n_sessions);
    else
        reply_format(reply, "At most %" PRIu64 " connections at a time, limited by %s.\n",
                     ceiling->n_connections, ceiling->limit);
    if (*ceiling->lift && !diagnosis->is_udp_alone)
        reply_format(reply, "More: %s.\n", ceiling->lift);
    for (size_t i = 0; i < diagnosis->findings.n; i++) {
        const struct doctor_finding *finding = &diagnosis->findings.list[i];

        reply_format(reply, "\n%-4s  %s: %s\n", doctor_level_word(finding->level), finding->about,
                     finding->found);
        if (*finding->limits)
            reply_format(reply, "      limits  %s\n", finding->limits);
        if (*finding->lift)
            reply_format(reply, "      lift    %s\n", finding->lift);
    }
}

static void append_field(struct reply *reply, const char *name, const char *text)
{
    reply_format(reply, ",\"%s\":", name);
    reply_json_string(reply, text);
}

static void write_json(struct reply *reply, const struct diagnosis *diagnosis)
{
    const struct doctor_ceiling *ceiling = &diagnosis->ceiling;

    reply_format(reply, "{\"ceiling\":%" PRIu64, ceiling->n_connections);
    append_field(reply, "limited_by", ceiling->limit);
    append_field(reply, "lift", ceiling->lift);
    reply_text(reply, ",\"findings\":[");
    for (size_t i = 0; i < diagnosis->findings.n; i++) {
        const struct doctor_finding *finding = &diagnosis->findings.list[i];

        reply_format(reply, "%s{\"level\":\"%s\"", i ? "," : "", doctor_level_word(finding->level));
        append_field(reply, "about", finding->about);
        append_field(reply, "found", finding->found);
        append_field(reply, "limits", finding->limits);
        append_field(reply, "lift", finding->lift);
        reply_text(reply, "}");
    }
    reply_text(reply, "]}\n");
}

enum command_result doctor_run(struct command_call *call)
{
    struct diagnosis diagnosis;

    if (!examine(call->from, &diagnosis))
        return command_fail(call, "doctor: no memory");
    if (call->reply->is_json)
        write_json(call->reply, &diagnosis);
    else
        write_text(call->reply, &diagnosis);
    return COMMAND_DONE;
}

/* --- the log -------------------------------------------------------------------------------------
 */

void doctor_log(const struct snapshot_from *from)
{
    const char *more = *from->conf->admin ? "; `lb4ctl doctor` tells more" : "";
    struct diagnosis diagnosis;

    if (!examine(from, &diagnosis))
        return;
    if (diagnosis.is_udp_alone)
        log_info("at most %" PRIu32 " UDP sessions at a time%s", diagnosis.n_sessions, more);
    else
        log_info("at most %" PRIu64 " connections at a time, limited by %s%s",
                 diagnosis.ceiling.n_connections, diagnosis.ceiling.limit, more);
    for (size_t i = 0; i < diagnosis.findings.n; i++) {
        const struct doctor_finding *finding = &diagnosis.findings.list[i];

        if (finding->level >= DOCTOR_WARN && !finding->is_told)
            log_warn("%s%s%s", finding->found, *finding->lift ? "; lift: " : "", finding->lift);
    }
}
