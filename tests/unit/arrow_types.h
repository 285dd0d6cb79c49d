/* Types of every layout there is, alone and inside one another, in the notation of arrow_maker.h. */
#ifndef FB_TESTS_ARROW_TYPES_H
#define FB_TESTS_ARROW_TYPES_H

static const char *const every_type[] = {
    /* elements */
    "b",
    "C",
    "s",
    "i",
    "g",
    "e",
    "tdD",
    "tsu:UTC",
    "ttm",
    "d:10,2",
    "d:7,2,32",
    "d:50,2,256",
    "w:3",
    "w:0",
    "n",
    /* strings */
    "u",
    "Z",
    "vu",
    "vz",
    /* fixed-size lists */
    "+w:3(item=f)",
    "+w:3(item=b)",
    "+w:0(item=i)",
    "+w:2(item=+w:2(item=s))",
    "+w:2(item=u)",
    "+w:2(item=n)",
    "+w:2(item=vu)",
    "+w:2(item=+s(a=i;b=u))",
    "+w:2(item=+l(item=i))",
    /* lists */
    "+l(item=i)",
    "+L(item=u)",
    "+l(item=b)",
    "+l(item=n)",
    "+l(item=w:0)",
    "+vl(item=i)",
    "+vL(item=vu)",
    "+l(item=+l(item=U))",
    "+l(item=+w:2(item=i))",
    "+l(item=+w:2(item=u))",
    "+m(entries=+s(key=u;value=tdD))",
    "+vl(item=+vl(item=u))",
    /* structs */
    "+s(a=i;b=u)",
    "+s()",
    "+s(a=+s(b=+l(item=i));c=b)",
    "+l(item=+s(a=i;b=+l(item=u)))",
    "+s(a=+m(entries=+s(key=i;value=+l(item=d:5,1)));b=+w:2(item=f))",
    /* dictionaries */
    "i[u]",
    "C[l]",
    "s[b]",
    "L[vu]",
    "i[+l(item=i)]",
    "i[+s(a=i;b=u)]",
    "i[s[u]]",
    "i[n]",
    "+l(item=c[u])",
    "+w:2(item=i[u])",
    "+w:2(item=S[g])",
    "+s(a=c[u];b=i[+l(item=u)])",
    /* run-end encoded */
    "+r(run_ends=i;values=l)",
    "+r(run_ends=s;values=u)",
    "+r(run_ends=l;values=+l(item=i))",
    "+r(run_ends=i;values=+s(a=i;b=u))",
    "+r(run_ends=i;values=n)",
    "+l(item=+r(run_ends=i;values=u))",
    "+s(a=+r(run_ends=i;values=i[u]))",
    "i[+r(run_ends=s;values=Z)]",
    "+w:2(item=+r(run_ends=i;values=b))",
};

#define EVERY_TYPE_COUNT (sizeof every_type / sizeof *every_type)

#endif
