"""The style sheet of a report: readable on a phone, in the dark and on paper; colours of Okabe and Ito's palette."""

STYLE = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#5b6570;--grid:#e3e7eb;--edge:#c9d0d6;--card:#f6f8fa;
--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#a0528a;--c5:#b07a00;--c6:#2b8fc7;--warm:#c98500;--bad:#c2410c;--mark:#1b1f24}
@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e6e9ec;--dim:#9aa5b1;--grid:#2a313a;--edge:#46505b;
--card:#1c2229;--c1:#56b4e9;--c2:#f08a4b;--c3:#3fc79a;--c4:#dd8cbc;--c5:#e6b44c;--c6:#8ecdf0;--warm:#e6b44c;
--bad:#f59e6c;--mark:#f2f4f6}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1.2rem clamp(.8rem,3vw,2rem) 3rem;max-width:72rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums;
overflow-wrap:anywhere}
h1{font-size:1.45rem;margin:.2rem 0}
h2{font-size:1.15rem;margin:2.4rem 0 .5rem;padding-top:.6rem;border-top:1px solid var(--edge)}
h3{font-size:1rem;margin:1.4rem 0 .2rem}
p{margin:.3rem 0;max-width:62rem}
.dim,caption,.lead{color:var(--dim)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.6rem;margin:1rem 0}
.tiles div{background:var(--card);border-radius:6px;padding:.55rem .75rem}
.tiles b{display:block;font-size:1.3rem;font-weight:600;line-height:1.3}
.tiles span{color:var(--dim);font-size:.84rem}
pre{overflow-x:auto;font-size:.8rem;line-height:1.35}
.wide{overflow-x:auto;margin:.3rem 0 .8rem}
table{border-collapse:collapse;font-size:.88rem;min-width:30rem}
th,td{text-align:right;padding:.16rem .65rem;border-bottom:1px solid var(--grid);white-space:nowrap}
th{color:var(--dim);font-weight:500;vertical-align:bottom}
thead th{white-space:normal;overflow-wrap:normal}
tbody th{color:var(--fg)}
th:first-child,td:first-child{text-align:left;padding-left:0;position:sticky;left:0;background:var(--bg)}
td.t,th.t{text-align:left}
td.wrap{white-space:normal;min-width:16rem;max-width:44rem}
tr.whole>*{border-top:1px solid var(--edge)}
tr.whole+tr.whole>*{border-top:0}
.bad{color:var(--bad);font-weight:600}
.plot{display:grid;grid-template-columns:3.4rem 1fr 7.6rem;margin:1.4rem 0 .5rem}
.area{position:relative;min-width:0;border-left:1px solid var(--edge);border-bottom:1px solid var(--edge)}
svg{display:block;width:100%;overflow:visible}
.y,.r,.x{position:relative;font-size:.76rem;color:var(--dim);line-height:1}
.y span,.y b{position:absolute;right:.45rem;transform:translateY(-50%)}
.y b{top:-1.15rem;right:auto;left:0;white-space:nowrap;font-weight:400;transform:none}
.r span{position:absolute;left:.45rem;transform:translateY(-50%);white-space:nowrap}
.x{grid-column:2;height:1.3rem;margin-top:.35rem}
.x span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.note{position:absolute;transform:translateY(-1.35rem);padding:0 .35rem;font-size:.76rem;white-space:nowrap;
line-height:1.2}
.hist{display:grid;grid-auto-flow:dense;grid-template-columns:6.5rem 1fr 20.5rem;align-items:end;column-gap:.7rem}
.hist .area{border-left:0;grid-column:2}
.hist .v{grid-column:3;font-size:.78rem;color:var(--dim);white-space:nowrap;align-self:center}
.hist .v b{color:var(--fg);font-weight:500}
.hist .name{align-self:center;font-size:.88rem}
.hist .x{grid-column:2}
path{vector-effect:non-scaling-stroke;fill:none}
.grid{stroke:var(--grid);stroke-width:1}
.dot{stroke:currentColor;stroke-width:3.4;stroke-linecap:round}
.range{stroke:currentColor;stroke-width:1.6;stroke-linecap:round;opacity:.5}
.line{stroke:currentColor;stroke-width:1.7;stroke-linejoin:round;stroke-linecap:round}
.box{fill:currentColor;stroke:none;opacity:.75}
.ref{stroke:var(--mark);stroke-width:1;stroke-dasharray:4 3;opacity:.65}
.p50{stroke:var(--mark);stroke-width:1.6}
.top{stroke:var(--c2);stroke-width:1.6;stroke-dasharray:3 2}
.drop{stroke:var(--bad);stroke-width:1.4}
.k1{color:var(--c1)}.k2{color:var(--c2)}.k3{color:var(--c3)}.k4{color:var(--c4)}.k5{color:var(--c5)}.k6{color:var(--c6)}
.warm{color:var(--warm)}
.key{font-size:.8rem;color:var(--dim);margin:.1rem 0 .9rem}
.key i{font-style:normal;font-weight:700}
.key i.p50{color:var(--mark)}.key i.top{color:var(--c2)}.key i.drop{color:var(--bad)}
img.kept{display:block;width:100%;max-width:40rem;border-radius:6px}
details{margin:.4rem 0}summary{cursor:pointer}
@media(max-width:640px){.plot{grid-template-columns:2.3rem 1fr 6rem}.r,.y,.x{font-size:.68rem}.r span{left:.3rem}
.hist{grid-template-columns:auto 1fr;row-gap:.1rem}.hist .v{grid-column:2}.hist .name{font-weight:600}
.hist .area,.hist .x{grid-column:1/-1}.hist .v{white-space:normal;text-align:right}}
@media print{:root{color-scheme:light;--bg:#fff;--fg:#000;--dim:#444;--grid:#ddd;--edge:#999;--card:#f3f3f3;
--c1:#0072b2;--c2:#d55e00;--c3:#009e73;--c4:#a0528a;--c5:#b07a00;--c6:#2b8fc7;--warm:#c98500;--bad:#c2410c;--mark:#000}
body{font-size:11px;max-width:none;padding:0;-webkit-print-color-adjust:exact;print-color-adjust:exact}
.plot,.histogram,table,.tiles{break-inside:avoid}h2,h3{break-after:avoid}.wide{overflow:visible}}
"""
