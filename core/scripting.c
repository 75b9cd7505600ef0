/* Where the core finds the scripts' side of the house. Set by main.c, or by a unit test. */
#include "scripting.h"

const struct scripting *scripting;
