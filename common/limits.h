/* limits - the fixed bounds of limits.def as constants */
#ifndef CONVOY_COMMON_LIMITS_H
#define CONVOY_COMMON_LIMITS_H

#include "common/base.h"

#define LIMIT(name, value, unit, bounds, beyond) enum { name = value };
#include "common/limits.def"

#endif
