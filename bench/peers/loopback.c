/* Preloaded into a media server whose ICE agent leaves loopback interfaces out: shows them as ordinary ones, so that
 * server and load client meet on one machine. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <ifaddrs.h>
#include <net/if.h>

int getifaddrs(struct ifaddrs **found) {
    int (*next)(struct ifaddrs **) = (int (*)(struct ifaddrs **))dlsym(RTLD_NEXT, "getifaddrs");
    int outcome = next(found);
    for (struct ifaddrs *at = outcome == 0 ? *found : 0; at; at = at->ifa_next) {
        at->ifa_flags &= ~(unsigned)IFF_LOOPBACK;
    }
    return outcome;
}
