// SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause)
/* Every hook in one object, so that they share their maps by construction. */
#include "connect.h"
#include "getpeername.h"
#include "sockops.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
