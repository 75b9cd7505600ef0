/* Syntax: libyaml's errors in words that say what to write. */
#ifndef CONFIG_SYNTAX_H
#define CONFIG_SYNTAX_H

#include <yaml.h>

#include "config/findings.h"

void syntax_explain(const yaml_parser_t *parser, const char *text, size_t length,
                    struct findings *findings);

#endif
