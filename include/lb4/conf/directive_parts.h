/* Parts of the handlers of `check` and `server` that have files of their own. What is wrong they
 * report, and return false. Thread: main at the start, control at a reload. */
#ifndef LB4_CONF_DIRECTIVE_PARTS_H
#define LB4_CONF_DIRECTIVE_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "lb4/base/origin.h"
#include "lb4/conf/handlers.h"

/* directive_check_kind.c: what belongs to check->kind, from word 2 on; *ret_next is the first word
 * behind it. Texts that were stored are the caller's to free, also on false. */
bool directive_check_kind(struct reader *reader, const struct lex_line *line,
                          struct conf_check *check, size_t *ret_next);

/* Word 2 begins with '/'; `what` is the form that is accepted. */
bool directive_check_path(struct reader *reader, const struct lex_line *line, const char *what);

/* directive_program.c: is word `i`, an absolute path, a program? */
bool directive_judge_program(struct reader *reader, const struct lex_line *line, size_t i);

/* directive_names.c: is the address of a server "srv:NAME"? Its name, without the dot of the root,
 * into `ret`; false also if something is wrong behind it. */
bool directive_is_srv(const struct lex_line *line);
bool directive_read_srv(struct reader *reader, const struct lex_line *line,
                        char ret[static CONF_HOST_MAX + 1]);

/* directive_proxy.c: where "accept-proxy" stands behind a listener's address, or the end of the
 * line; and what follows it, into `listen`, whose networks are the caller's to free, also on false.
 */
size_t directive_find_accept_proxy(const struct lex_line *line);
bool directive_accept_proxy(struct reader *reader, const struct lex_line *line, size_t first,
                            struct conf_listen *listen);
/* directive_listen_words.c: the words from 3 to before `end`. */
bool directive_read_listen_words(struct reader *reader, const struct lex_line *line, size_t end,
                                 struct conf_listen *listen);

/* directive_unix.c: word `i` begins with "unix:". */
bool directive_read_unix(struct reader *reader, const struct lex_line *line, size_t i,
                         struct addr *ret);
/* None of these words, NULL-terminated, may stand behind the address; `what` may. */
bool directive_judge_unix(struct reader *reader, const struct lex_line *line,
                          const char *const *words, const char *what);
/* "0660" in word `i`. */
bool directive_read_mode(struct reader *reader, const struct lex_line *line, size_t i,
                         uint32_t *ret);

/* directive_origin.c: "10.0.0.9,10.0.0.10" in word `i`; the name of an interface there. */
bool directive_read_sources(struct reader *reader, const struct lex_line *line, size_t i,
                            struct origin *ret);
bool directive_read_interface(struct reader *reader, const struct lex_line *line, size_t i,
                              char ret[static IF_NAMESIZE]);
/* A copy of it, the conf's own; NULL for one that says nothing. */
bool directive_store_origin(struct reader *reader, const struct lex_line *line,
                            const struct origin *origin, const struct origin **ret);

#endif
