/* For tests of conf/: text into a configuration, errors into text. */
#ifndef TEST_CONF_TEXT_H
#define TEST_CONF_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lb4/conf/check.h"
#include "lb4/conf/memory.h"
#include "lb4/conf/read.h"

static inline int conf_text_read(const char *text, struct conf *conf, struct conf_report *report)
{
    conf_init(conf);
    conf_report_init(report);
    conf_read_text("t", text, strlen(text), conf, report);
    return conf_check(conf, report);
}

/* The text must have no error. */
static inline void conf_text_accept(const char *text, struct conf *conf)
{
    struct conf_report report;

    if (conf_text_read(text, conf, &report) != 0)
        fail_msg("\"%s\": %u:%u: %s", text, report.errors[0].place.line,
                 report.errors[0].place.column, report.errors[0].text);
}

/* The first error must stand at `place`, "LINE:COLUMN", and hold `fragment`. */
static inline void conf_text_refuse(const char *text, const char *place, const char *fragment)
{
    struct conf_report report;
    struct conf conf;
    char found[32];

    if (conf_text_read(text, &conf, &report) == 0)
        fail_msg("\"%s\" is accepted, expected %s: %s", text, place, fragment);
    snprintf(found, sizeof(found), "%u:%u", report.errors[0].place.line,
             report.errors[0].place.column);
    if (strcmp(found, place) != 0 || !strstr(report.errors[0].text, fragment))
        fail_msg("\"%s\": expected %s: %s, found %s: %s", text, place, fragment, found,
                 report.errors[0].text);
    conf_free(&conf);
}

#endif
