/* Bytes into lines of words: the lexical rules of the configuration, for files and for flags.
 *
 * Words are separated by blanks and tabs. '#' at the beginning of a word starts a comment. A word
 * in double quotes may hold anything but a line end, with the escapes \" \\ \r \n \xHH; a quote
 * stands only at the beginning and the end of a word. '{' as the last word opens a block, '}' alone
 * closes it. Text is UTF-8 without control bytes; a byte order mark at the start is skipped; CR
 * before the line end is dropped. No I/O, no allocation: words live in the caller's struct
 * lex_line. */
#ifndef LB4_CONF_LEX_H
#define LB4_CONF_LEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    LEX_LINE_MAX = 4096, /* bytes of a line, without its end */
    LEX_WORDS_MAX = 64,  /* words of a line; chosen: the longest directive has 20 */
    LEX_ERROR_MAX = 128
};

struct lex {
    const char *at;
    const char *end;
    uint32_t line; /* number of the line read last */
};

struct lex_word {
    const char *text; /* NUL-terminated; may hold NUL bytes from \x00, so see n_bytes */
    size_t n_bytes;
    uint32_t column; /* from 1, in bytes; of the quote, where there is one */
};

struct lex_line {
    uint32_t number;   /* from 1 */
    size_t n_words;    /* without the braces; 0 for empty lines and comments */
    bool opens_block;  /* '{' was the last word; after LEX_BAD: the line looks as if */
    bool closes_block; /* '}' was the only word */
    uint32_t brace_column;
    uint32_t error_column; /* after LEX_BAD, and what is wrong: */
    char error[LEX_ERROR_MAX];
    struct lex_word words[LEX_WORDS_MAX];
    char bytes[LEX_LINE_MAX + 1];
};

enum lex_result { LEX_LINE, LEX_END, LEX_BAD };

/* `text` stays the caller's until the last lex_next(). */
void lex_init(struct lex *lex, const char *text, size_t n_bytes);

/* The next line into *line, empty ones too. After LEX_BAD the following line can be read. */
enum lex_result lex_next(struct lex *lex, struct lex_line *line);

/* Put a word before word `index`, for flags: -w 4 is the line "workers 4". `text` is not copied.
 * Does nothing when the line is full. */
void lex_insert_word(struct lex_line *line, size_t index, const char *text, uint32_t column);

/* Split word `index` at its byte `at`, which vanishes: "db1=10.0.0.5:80" into two. */
void lex_split_word(struct lex_line *line, size_t index, size_t at);

#endif
