/* Facts of a healthy machine of today with one service of two servers, for tests to spoil. */
#ifndef TEST_DOCTOR_RIG_H
#define TEST_DOCTOR_RIG_H

#include "lb4/control/doctor_findings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct doctor_service services[4];
static struct doctor_facts facts;
static struct doctor_findings findings;

static int prepare_facts(void **state)
{
    (void)state;
    memset(&findings, 0, sizeof(findings));
    services[0] = (struct doctor_service){.name = "db",
                                          .transports = CONF_TCP,
                                          .is_checked = true,
                                          .n_servers = 2,
                                          .n_usable = 2,
                                          .n_addresses = 2};
    facts = (struct doctor_facts){
        .kernel = {.limits = {.pipe_soft_pages = 16384,
                              .pipe_max_bytes = 1024 * 1024,
                              .page_bytes = 4096,
                              .n_ports = 28232},
                   .ports = {32768, 60999, 0},
                   .open_most = 1048576,
                   .somaxconn = 4096,
                   .rmem_max = 4 << 20,
                   .wmem_max = 4 << 20,
                   .tw_reuse = 2,
                   .tw_reuse_ms = 1000,
                   .has_timestamps = true,
                   .migrates = true,
                   .has_syncookies = true,
                   .syn_backlog = 1024,
                   .tcp_mem_pages = 500000,
                   .first_free_port = 1024},
        .budget = {.descriptors = 20000,
                   .n_fixed = 20,
                   .n_reserve = 312,
                   .maxconn = 9786,
                   .probes = 2,
                   .pipes_per_worker = 24,
                   .pipe_bytes = 1024 * 1024},
        .n_workers = 2,
        .n_probed = 2,
        .n_addresses = 2,
        .wants_splice = true,
        .lowest_port = 5432,
        .services = services,
        .n_services = 1,
    };
    return 0;
}

#define ON_FACTS(test) cmocka_unit_test_setup(test, prepare_facts)

static inline const struct doctor_finding *finding_of(const char *about)
{
    for (size_t i = 0; i < findings.n; i++)
        if (strcmp(findings.list[i].about, about) == 0)
            return &findings.list[i];
    return NULL;
}

/* The finding is there, of this level, with these texts in it; NULL = none of that. */
static inline void expect(const char *about, enum doctor_level level, const char *found,
                          const char *limits, const char *lift)
{
    const struct doctor_finding *finding = finding_of(about);

    if (!finding)
        fail_msg("nothing about %s", about);
    if (finding->level != level || !strstr(finding->found, found) ||
        (limits ? !strstr(finding->limits, limits) : *finding->limits) ||
        (lift ? !strstr(finding->lift, lift) : *finding->lift))
        fail_msg("%s %s: '%s', limits '%s', lift '%s'", doctor_level_word(finding->level), about,
                 finding->found, finding->limits, finding->lift);
}

#endif
