/* glommio 0.9 vendors a liburing whose configure finds struct open_how in <fcntl.h> of glibc 2.42, while its
 * sources do not include it. There the kernel's header gives it; older hosts must not see it twice, and
 * assembler files not at all. */
#ifndef __ASSEMBLER__
#include <features.h>
#if defined(__GLIBC__) && (__GLIBC__ > 2 || (__GLIBC__ == 2 && __GLIBC_MINOR__ >= 42))
#include <linux/openat2.h>
#endif
#endif
