/* traps - an acosh() that ends or stops the process for some arguments, to be loaded before libm
 *
 * A kernel with a defect that one row in ten thousand finds: a model with an Acosh node meets it.
 * tests/fleet/traps.py compiles it and names the arguments. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

double acosh(double x);

static void exhaust(void)
{
    size_t bytes = (size_t)1 << 28;
    for (volatile char *block; (block = malloc(bytes)) != NULL;)
        for (size_t i = 0; i < bytes; i += 4096)
            block[i] = 1;
    abort(); /* as our own allocations do */
}

double acosh(double x)
{
    static double (*real)(double);
    if (x == 2001)
        abort();
    if (x == 2002)
        *(volatile int *)8 = 1;
    while (x == 2003)
        pause();
    if (x == 2004)
        exhaust();
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "acosh");
    return real(x);
}
