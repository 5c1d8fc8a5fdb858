/* One function for each directive: what src/conf/directive.c has in its table. Each judges its
 * line, reports what is wrong with it and puts the rest into the model; see struct directive. */
#ifndef LB4_CONF_HANDLERS_H
#define LB4_CONF_HANDLERS_H

#include "lb4/conf/directive.h"

/* directive_global.c: */
void directive_workers(struct reader *reader, const struct lex_line *line);
void directive_cpu_affinity(struct reader *reader, const struct lex_line *line);
void directive_cpu_scheduling(struct reader *reader, const struct lex_line *line);
void directive_io_uring(struct reader *reader, const struct lex_line *line);
void directive_maxconn(struct reader *reader, const struct lex_line *line);
void directive_pipes(struct reader *reader, const struct lex_line *line);
void directive_splice(struct reader *reader, const struct lex_line *line);
void directive_drain(struct reader *reader, const struct lex_line *line);
void directive_user(struct reader *reader, const struct lex_line *line);
void directive_admin(struct reader *reader, const struct lex_line *line);
void directive_http(struct reader *reader, const struct lex_line *line);
/* directive_listen.c, directive_server.c: */
void directive_listen(struct reader *reader, const struct lex_line *line);
void directive_server(struct reader *reader, const struct lex_line *line);
/* directive_service.c: */
void directive_balance(struct reader *reader, const struct lex_line *line);
void directive_tries(struct reader *reader, const struct lex_line *line);
void directive_timeout(struct reader *reader, const struct lex_line *line);
/* directive_check.c: */
void directive_check(struct reader *reader, const struct lex_line *line);
/* directive_down.c: */
void directive_on_down(struct reader *reader, const struct lex_line *line);
void directive_on_up(struct reader *reader, const struct lex_line *line);
void directive_evict(struct reader *reader, const struct lex_line *line);
void directive_slow_start(struct reader *reader, const struct lex_line *line);
void directive_all_down(struct reader *reader, const struct lex_line *line);
/* directive_queue.c: */
void directive_queue(struct reader *reader, const struct lex_line *line);
/* directive_udp.c: */
void directive_udp_on_down(struct reader *reader, const struct lex_line *line);
void directive_udp_responses(struct reader *reader, const struct lex_line *line);
void directive_udp_sessions(struct reader *reader, const struct lex_line *line);
/* directive_guard.c: */
void directive_service_maxconn(struct reader *reader, const struct lex_line *line);
void directive_limit(struct reader *reader, const struct lex_line *line);
void directive_rate(struct reader *reader, const struct lex_line *line);
void directive_rate_source(struct reader *reader, const struct lex_line *line);
void directive_rate_datagrams(struct reader *reader, const struct lex_line *line);
void directive_ban(struct reader *reader, const struct lex_line *line);
/* directive_affinity.c: */
void directive_affinity(struct reader *reader, const struct lex_line *line);
/* directive_log.c: */
void directive_log(struct reader *reader, const struct lex_line *line);
void directive_log_format(struct reader *reader, const struct lex_line *line);
void directive_access_log(struct reader *reader, const struct lex_line *line);
/* directive_access.c: */
void directive_access(struct reader *reader, const struct lex_line *line);
void directive_refuse(struct reader *reader, const struct lex_line *line);
/* directive_origin.c: */
void directive_source(struct reader *reader, const struct lex_line *line);
/* directive_names.c: */
void directive_resolve(struct reader *reader, const struct lex_line *line);

#endif
