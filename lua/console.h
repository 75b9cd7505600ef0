/* Consoles; same contracts as the members of struct scripting with the same name
 * (core/scripting.h). */
#ifndef LUA_CONSOLE_H
#define LUA_CONSOLE_H

#include "core/scripting.h"

struct console *console_new(struct snapshot *snapshot, struct arena *arena, char *error,
                            size_t error_bytes);
enum console_answer console_evaluate(struct console *console, const char *text, size_t length,
                                     bool json, struct text *out);
void console_free(struct console *console);

#endif
