/* What main needs of lua/: the table of functions behind core/scripting.h. (In this folder the name
 * "scripting.h" finds this file: write "core/scripting.h" for the other.) */
#ifndef LUA_SCRIPTING_H
#define LUA_SCRIPTING_H

struct scripting;

const struct scripting *scripting_table(void);
/* For config_stock_names (core/config/schema.h); see vm_stock_names. */
const char *const *scripting_stock_names(const char *folder);

#endif
