"""Which system calls a job may make: name:number on x86_64:number on aarch64, `-` for none."""

# Argued in docs/adr/0051. Whatever is not here answers ENOSYS, as on an older kernel, so that
# libraries take the path they already have for one. Absent on purpose: every way to another
# process's memory (ptrace, process_vm_*, kcmp, pidfd_getfd), new namespaces and mounts (unshare,
# setns, mount*, pivot_root, clone3, whose flags a filter cannot see), kernel attack surface
# (io_uring_*, bpf, perf_event_open, userfaultfd, keyctl and its kin, modules, kexec), memory that
# no limit counts (memfd_create, SysV shared memory), device nodes (mknod*), handles (open_by_*).
ALLOWED = """
read:0:63 write:1:64 open:2:- close:3:57 stat:4:- fstat:5:80 lstat:6:- lseek:8:62 pread64:17:67
pwrite64:18:68 readv:19:65 writev:20:66 preadv:295:69 pwritev:296:70 preadv2:327:286
pwritev2:328:287 access:21:- pipe:22:- pipe2:293:59 dup:32:23 dup2:33:- dup3:292:24 fcntl:72:25
flock:73:32 fsync:74:82 fdatasync:75:83 sync_file_range:277:84 truncate:76:45 ftruncate:77:46
fallocate:285:47 getdents:78:- getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50
rename:82:- renameat:264:38 renameat2:316:276 mkdir:83:- mkdirat:258:34 rmdir:84:- creat:85:-
link:86:- linkat:265:37 unlink:87:- unlinkat:263:35 symlink:88:- symlinkat:266:36 readlink:89:-
readlinkat:267:78 chmod:90:- fchmod:91:52 fchmodat:268:53 chown:92:- fchown:93:55 lchown:94:-
fchownat:260:54 umask:95:166 statfs:137:43 fstatfs:138:44 utime:132:- utimes:235:-
utimensat:280:88 openat:257:56 newfstatat:262:79 faccessat:269:48 faccessat2:439:439
statx:332:291 sendfile:40:71 copy_file_range:326:285 splice:275:76 tee:276:77 readahead:187:213
fadvise64:221:223 getxattr:191:8 lgetxattr:192:9 fgetxattr:193:10 listxattr:194:11
llistxattr:195:12 flistxattr:196:13 inotify_init:253:- inotify_init1:294:26
inotify_add_watch:254:27 inotify_rm_watch:255:28 close_range:436:436
mmap:9:222 mprotect:10:226 munmap:11:215 brk:12:214 mremap:25:216 msync:26:227 mincore:27:232
madvise:28:233 mlock:149:228 mlock2:325:284 munlock:150:229 membarrier:324:283
get_mempolicy:239:236 set_mempolicy:238:237 mbind:237:235
rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136
rt_sigtimedwait:128:137 rt_sigqueueinfo:129:138 rt_tgsigqueueinfo:297:240 rt_sigsuspend:130:133
sigaltstack:131:132 kill:62:129 tkill:200:130 tgkill:234:131 pause:34:- signalfd:282:-
signalfd4:289:74
fork:57:- vfork:58:- execve:59:221 execveat:322:281 exit:60:93 exit_group:231:94 wait4:61:260
waitid:247:95 getpid:39:172 getppid:110:173 gettid:186:178 getpgid:121:155 getpgrp:111:-
setpgid:109:154 getsid:124:156 setsid:112:157 getuid:102:174 geteuid:107:175 getgid:104:176
getegid:108:177 getresuid:118:148 getresgid:120:150 getgroups:115:158 getpriority:140:141
setpriority:141:140 getrlimit:97:163 setrlimit:160:164 prlimit64:302:261 getrusage:98:165
times:100:153 uname:63:160 sysinfo:99:179 prctl:157:167 arch_prctl:158:- capget:125:90
set_tid_address:218:96 set_robust_list:273:99 get_robust_list:274:100 rseq:334:293 futex:202:98
futex_waitv:449:449 restart_syscall:219:128 sched_yield:24:124 sched_getaffinity:204:123
sched_setaffinity:203:122 sched_getparam:143:121 sched_setparam:142:118
sched_getscheduler:145:120 sched_setscheduler:144:119 sched_get_priority_max:146:125
sched_get_priority_min:147:126 sched_rr_get_interval:148:127 sched_getattr:315:275
sched_setattr:314:274 getcpu:309:168 pidfd_open:434:434 pidfd_send_signal:424:424
nanosleep:35:101 clock_nanosleep:230:115 clock_gettime:228:113 clock_getres:229:114
gettimeofday:96:169 time:201:- alarm:37:- getitimer:36:102 setitimer:38:103
timer_create:222:107 timer_settime:223:110 timer_gettime:224:108 timer_getoverrun:225:109
timer_delete:226:111 timerfd_create:283:85 timerfd_settime:286:86 timerfd_gettime:287:87
poll:7:- ppoll:271:73 select:23:- pselect6:270:72 epoll_create:213:- epoll_create1:291:20
epoll_ctl:233:21 epoll_wait:232:- epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284:-
eventfd2:290:19
connect:42:203 accept:43:202 accept4:288:242 sendto:44:206 recvfrom:45:207 sendmsg:46:211
recvmsg:47:212 sendmmsg:307:269 recvmmsg:299:243 shutdown:48:210 bind:49:200 listen:50:201
getsockname:51:204 getpeername:52:205 setsockopt:54:208 getsockopt:55:209
getrandom:318:278
"""

# These depend on an argument; seccomp.py says how.
BY_ARGUMENT = """
socket:41:198 socketpair:53:199 clone:56:220 ioctl:16:29 personality:135:92
"""


def numbers(table: str, column: int) -> dict[str, int]:
    """Return the calls of one architecture: column 0 is x86_64, 1 is aarch64."""
    found = {}
    for entry in table.split():
        name, *columns = entry.split(":")
        if columns[column] != "-":
            found[name] = int(columns[column])
    return found
