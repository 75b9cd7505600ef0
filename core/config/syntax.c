/* Syntax: see syntax.h. Builder thread and command line tools.
 *
 * libyaml names what its grammar expected; a person wants to know what he probably did. The table
 * maps one to the other; what is not in it is passed on as libyaml says it. */
#include "config/syntax.h"

#include <string.h>

/* Where the mistake is better shown. */
enum place { AT_PROBLEM, AT_CONTEXT };

struct hint {
    const char *problem; /* libyaml's words, or how they begin */
    enum place place;
    const char *advice;
};

#define TAB_ADVICE "a tab is used for indentation; write spaces instead"

static const struct hint hints[] = {
    {"mapping values are not allowed in this context", AT_PROBLEM,
     "a ':' stands where no key can be; align this line with the keys it belongs to, write a "
     "space after every colon above, or put the value in quotes"},
    {"block sequence entries are not allowed in this context", AT_PROBLEM,
     "a list cannot begin here; write '- ' on a line of its own below the key, or use [a, b]"},
    {"did not find expected key", AT_PROBLEM,
     "this does not fit the keys above it; indent it like its neighbours, as 'key: value'"},
    {"did not find expected '-' indicator", AT_PROBLEM,
     "this does not fit the list above it; begin it with '- ', indented like its neighbours"},
    {"could not find expected ':'", AT_CONTEXT,
     "a key without its colon; write 'key: value', with a space after the colon"},
    {"found unexpected end of stream", AT_CONTEXT,
     "a quote is opened here and never closed; write the closing quote"},
    {"found unexpected document indicator", AT_CONTEXT,
     "a quote is opened here and never closed; write the closing quote"},
    {"did not find expected ',' or '}'", AT_CONTEXT,
     "a '{' is opened here and not closed properly; write {key: value, key: value}"},
    {"did not find expected ',' or ']'", AT_CONTEXT,
     "a '[' is opened here and not closed properly; write [a, b]"},
    {"did not find expected node content", AT_PROBLEM,
     "a value is missing here; write one, or remove the comma"},
    {"found unknown escape character", AT_PROBLEM,
     "an unknown escape after a backslash; write the text in 'single quotes'"},
    {"found undefined tag handle", AT_PROBLEM, "a text that begins with '!'; put it in quotes"},
    {"did not find expected alphabetic or numeric character", AT_PROBLEM,
     "a text that begins with '*' or '&'; put it in quotes"},
    {"found undefined alias", AT_PROBLEM, "a text that begins with '*'; put it in quotes"},
    {"did not find expected <document start>", AT_PROBLEM,
     "text follows after the end of the configuration; write only one map of keys, each key at "
     "the start of its line"},
    {"found a tab character", AT_PROBLEM, TAB_ADVICE},
    {"did not find expected digit or", AT_PROBLEM, "a text that begins with '%'; put it in quotes"},
    {"could not find expected directive name", AT_PROBLEM,
     "a line that begins with '%'; put the text in quotes"},
    {"exceeded maximum depth", AT_PROBLEM, "nested too deeply; write at most 32 levels"},
};

/* The byte at a mark, whose column counts characters. */
static char byte_at(const yaml_mark_t *mark, const char *text, size_t length) {
    const char *at = text, *end = text + length;

    for (size_t line = 0; line < mark->line && at != NULL; line++) {
        at = memchr(at, '\n', (size_t)(end - at));
        at = at == NULL ? NULL : at + 1;
    }
    for (size_t column = 0; at != NULL && at < end && column < mark->column; column++) {
        do {
            at++;
        } while (at < end && ((unsigned char)*at & 0xc0) == 0x80);
    }
    return at != NULL && at < end ? *at : '\0';
}

static void add(struct findings *findings, const yaml_mark_t *mark, const char *message) {
    findings_add(findings, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1, "%s", message);
}

/* Bytes that are no text: libyaml gives their offset only. */
static void explain_reader(const yaml_parser_t *parser, const char *text, size_t length,
                           struct findings *findings) {
    const size_t offset = parser->problem_offset < length ? parser->problem_offset : length;
    uint32_t line = 1, column = 1;

    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            line++;
            column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            column++;
        }
    }
    if (strncmp(parser->problem, "control characters", 18) == 0) {
        findings_add(findings, line, column,
                     "a control character (0x%02x); remove it, or write it as an escape in "
                     "double quotes",
                     (unsigned)parser->problem_value);
    } else {
        findings_add(findings, line, column, "bytes that are not UTF-8; save the file as UTF-8");
    }
}

static void explain_character(const yaml_parser_t *parser, const char *text, size_t length,
                              struct findings *findings) {
    const yaml_mark_t *mark = &parser->problem_mark;
    const char byte = byte_at(mark, text, length);

    if (byte == '\t') {
        add(findings, mark, TAB_ADVICE);
    } else {
        findings_add(findings, (uint32_t)mark->line + 1, (uint32_t)mark->column + 1,
                     "a text cannot begin with '%c'; put it in quotes",
                     byte > ' ' && byte < 0x7f ? byte : '?');
    }
}

void syntax_explain(const yaml_parser_t *parser, const char *text, size_t length,
                    struct findings *findings) {
    const char *problem = parser->problem != NULL ? parser->problem : "not YAML";

    if (parser->error == YAML_MEMORY_ERROR) {
        findings_add(findings, 0, 0, "memory is out while reading; free some and try again");
        return;
    }
    if (parser->error == YAML_READER_ERROR) {
        explain_reader(parser, text, length, findings);
        return;
    }
    if (strcmp(problem, "found character that cannot start any token") == 0) {
        explain_character(parser, text, length, findings);
        return;
    }
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++) {
        if (strncmp(problem, hints[i].problem, strlen(hints[i].problem)) == 0) {
            const bool context = hints[i].place == AT_CONTEXT && parser->context != NULL;

            add(findings, context ? &parser->context_mark : &parser->problem_mark, hints[i].advice);
            return;
        }
    }
    findings_add(findings, (uint32_t)parser->problem_mark.line + 1,
                 (uint32_t)parser->problem_mark.column + 1, "not YAML: %s; correct the syntax",
                 problem);
}
