#include "lb4/conf/lex.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where the splitting of one line stands. */
struct cursor {
    struct lex_line *line;
    const char *begin;
    const char *at;
    const char *end;
    char *out; /* into line->bytes: the words with their NULs never need more than the line + 1 */
};

static bool line_fail(struct lex_line *line, size_t offset, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool line_fail(struct lex_line *line, size_t offset, const char *format, ...)
{
    va_list args;

    line->error_column = (uint32_t)offset + 1;
    va_start(args, format);
    vsnprintf(line->error, sizeof(line->error), format, args);
    va_end(args);
    return false;
}

void lex_init(struct lex *lex, const char *text, size_t n_bytes)
{
    static const char byte_order_mark[] = "\xef\xbb\xbf";

    *lex = (struct lex){.at = text, .end = text + n_bytes};
    if (n_bytes >= 3 && memcmp(text, byte_order_mark, 3) == 0)
        lex->at += 3;
}

/* Bytes of the UTF-8 sequence at `s`, 0 = invalid (RFC 3629 section 4: no overlong forms, no
 * surrogates, nothing above U+10FFFF). */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    size_t length;

    if (s[0] < 0x80)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4)
        return 0;
    length = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    if (s[0] == 0xe0)
        low = 0xa0;
    if (s[0] == 0xed)
        high = 0x9f;
    if (s[0] == 0xf0)
        low = 0x90;
    if (s[0] == 0xf4)
        high = 0x8f;
    if (n < length || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static bool line_validate(struct lex_line *line, const char *text, size_t n)
{
    if (n > LEX_LINE_MAX)
        return line_fail(line, LEX_LINE_MAX, "line of %zu bytes, at most %d", n, LEX_LINE_MAX);
    for (size_t i = 0; i < n;) {
        unsigned char byte = (unsigned char)text[i];
        size_t length = utf8_length((const unsigned char *)text + i, n - i);

        if (byte == '\0')
            return line_fail(line, i, "NUL byte, the configuration is text");
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f)
            return line_fail(line, i, "control byte \\x%02x, write it in quotes as \"\\x%02x\"",
                             byte, byte);
        if (length == 0)
            return line_fail(line, i, "byte \\x%02x is not UTF-8", byte);
        i += length;
    }
    return true;
}

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t';
}

static size_t cursor_offset(const struct cursor *cursor)
{
    return (size_t)(cursor->at - cursor->begin);
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    if (byte >= 'a' && byte <= 'f')
        return byte - 'a' + 10;
    if (byte >= 'A' && byte <= 'F')
        return byte - 'A' + 10;
    return -1;
}

/* `at` is behind a backslash. */
static bool take_escape(struct cursor *cursor)
{
    size_t left = (size_t)(cursor->end - cursor->at);
    char kind = left > 0 ? *cursor->at : '\0';

    if (kind == '"' || kind == '\\') {
        *cursor->out++ = kind;
    } else if (kind == 'r' || kind == 'n') {
        *cursor->out++ = kind == 'r' ? '\r' : '\n';
    } else if (kind == 'x' && left > 2 && hex_digit(cursor->at[1]) >= 0 &&
               hex_digit(cursor->at[2]) >= 0) {
        *cursor->out++ = (char)(hex_digit(cursor->at[1]) * 16 + hex_digit(cursor->at[2]));
        cursor->at += 2;
    } else {
        return line_fail(cursor->line, cursor_offset(cursor) - 1,
                         "unknown escape, accepted: \\\" \\\\ \\r \\n \\xHH");
    }
    cursor->at++;
    return true;
}

/* `at` is at the opening quote. */
static bool take_quoted(struct cursor *cursor)
{
    size_t opening = cursor_offset(cursor);

    cursor->at++;
    for (;;) {
        if (cursor->at == cursor->end)
            return line_fail(cursor->line, opening, "the quote that begins here has no end");
        if (*cursor->at == '"')
            break;
        if (*cursor->at != '\\')
            *cursor->out++ = *cursor->at++;
        else if (cursor->at++, !take_escape(cursor))
            return false;
    }
    cursor->at++;
    if (cursor->at < cursor->end && !is_blank(*cursor->at))
        return line_fail(cursor->line, cursor_offset(cursor), "a blank must follow the quote");
    return true;
}

static bool take_bare(struct cursor *cursor)
{
    while (cursor->at < cursor->end && !is_blank(*cursor->at)) {
        if (*cursor->at == '"')
            return line_fail(cursor->line, cursor_offset(cursor),
                             "a quote inside a word, quote the whole word");
        *cursor->out++ = *cursor->at++;
    }
    return true;
}

static bool take_word(struct cursor *cursor)
{
    struct lex_line *line = cursor->line;
    struct lex_word *word = &line->words[line->n_words];
    char *text = cursor->out;

    if (line->n_words == LEX_WORDS_MAX)
        return line_fail(line, cursor_offset(cursor), "more than %d words", LEX_WORDS_MAX);
    word->column = (uint32_t)cursor_offset(cursor) + 1;
    if (!(*cursor->at == '"' ? take_quoted(cursor) : take_bare(cursor)))
        return false;
    word->text = text;
    word->n_bytes = (size_t)(cursor->out - text);
    *cursor->out++ = '\0';
    line->n_words++;
    return true;
}

static bool at_brace(const struct cursor *cursor, char brace)
{
    return *cursor->at == brace && (cursor->at + 1 == cursor->end || is_blank(cursor->at[1]));
}

/* A brace ends the words of its line: take_words() checks that nothing follows. */
static bool take_brace(struct cursor *cursor)
{
    struct lex_line *line = cursor->line;

    line->brace_column = (uint32_t)cursor_offset(cursor) + 1;
    if (*cursor->at == '{')
        line->opens_block = true;
    else if (line->n_words == 0)
        line->closes_block = true;
    else
        return line_fail(line, cursor_offset(cursor), "'}' must stand on a line of its own");
    cursor->at++;
    return true;
}

static bool take_words(struct cursor *cursor)
{
    struct lex_line *line = cursor->line;

    for (;;) {
        while (cursor->at < cursor->end && is_blank(*cursor->at))
            cursor->at++;
        if (cursor->at == cursor->end || *cursor->at == '#')
            return true;
        if (line->opens_block)
            return line_fail(line, cursor_offset(cursor), "'{' must be the last word of its line");
        if (line->closes_block)
            return line_fail(line, cursor_offset(cursor), "'}' must stand on a line of its own");
        if (at_brace(cursor, '{') || at_brace(cursor, '}')) {
            if (!take_brace(cursor))
                return false;
        } else if (!take_word(cursor)) {
            return false;
        }
    }
}

/* A bad line that would have opened a block: the reader must know, to find the block's end. */
static bool looks_like_opening(const char *text, size_t n)
{
    while (n > 0 && is_blank(text[n - 1]))
        n--;
    return n > 0 && text[n - 1] == '{' && (n == 1 || is_blank(text[n - 2]));
}

enum lex_result lex_next(struct lex *lex, struct lex_line *line)
{
    size_t left = (size_t)(lex->end - lex->at);
    const char *text = lex->at;
    const char *newline = left > 0 ? memchr(text, '\n', left) : NULL;
    size_t n = newline ? (size_t)(newline - text) : left;
    struct cursor cursor = {.line = line, .begin = text, .at = text, .out = line->bytes};

    if (left == 0)
        return LEX_END;
    lex->at = newline ? newline + 1 : lex->end;
    line->number = ++lex->line;
    line->n_words = 0;
    line->opens_block = line->closes_block = false;
    if (n > 0 && text[n - 1] == '\r')
        n--;
    cursor.end = text + n;
    if (line_validate(line, text, n) && take_words(&cursor))
        return LEX_LINE;
    line->opens_block = looks_like_opening(text, n);
    return LEX_BAD;
}

void lex_insert_word(struct lex_line *line, size_t index, const char *text, uint32_t column)
{
    if (line->n_words == LEX_WORDS_MAX || index > line->n_words)
        return;
    memmove(&line->words[index + 1], &line->words[index],
            (line->n_words - index) * sizeof(line->words[0]));
    line->words[index] = (struct lex_word){.text = text, .n_bytes = strlen(text), .column = column};
    line->n_words++;
}

void lex_split_word(struct lex_line *line, size_t index, size_t at)
{
    struct lex_word *word = &line->words[index];

    if (line->n_words == LEX_WORDS_MAX || at >= word->n_bytes)
        return;
    line->bytes[(size_t)(word->text - line->bytes) + at] = '\0';
    lex_insert_word(line, index + 1, word->text + at + 1, word->column + (uint32_t)at + 1);
    word[1].n_bytes = word->n_bytes - at - 1;
    word->n_bytes = at;
}
