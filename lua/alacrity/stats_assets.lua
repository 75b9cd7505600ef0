-- What the stats page carries within itself: its style and its script. No other file is loaded.
local assets = {}

assets.style = [==[
:root{color-scheme:light dark;--bg:#f4f5f8;--card:#fff;--ink:#171b26;--dim:#5d667a;--line:#e3e6ee;
--accent:#3d5afe;--good:#0b7a4b;--good-bg:#dcf5e8;--warn:#8f5600;--warn-bg:#ffefcf;--bad:#b3202d;
--bad-bg:#fde3e4;--calm:#4b5568;--calm-bg:#e8ebf2;--bar:#3d5afe26}
@media(prefers-color-scheme:dark){:root{--bg:#0f1219;--card:#181c26;--ink:#e8ebf3;--dim:#98a2b8;
--line:#2a3040;--accent:#8ea2ff;--good:#62d99f;--good-bg:#12382a;--warn:#f5c063;--warn-bg:#3d2f10;
--bad:#ff8d93;--bad-bg:#47191e;--calm:#b4bdd0;--calm-bg:#272d3b;--bar:#8ea2ff2e}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
main{max-width:1240px;margin:0 auto;padding:20px 20px 40px}
header{display:flex;flex-wrap:wrap;align-items:center;gap:6px 14px;margin-bottom:16px}
h1{font-size:22px;margin:0;letter-spacing:-.02em}
h2{font-size:17px;margin:0;letter-spacing:-.01em;overflow-wrap:anywhere}
.about{color:var(--dim);font-size:13.5px;display:flex;flex-wrap:wrap;gap:2px 14px;margin-left:auto}
.dim,small{color:var(--dim);font-size:12.5px}
small{display:block;line-height:1.35;overflow-wrap:anywhere}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin-bottom:16px}
.tile,section{background:var(--card);border:1px solid var(--line);border-radius:12px}
.tile{padding:12px 14px;min-width:0}
.tile b{display:block;font-size:23px;line-height:1.25;font-weight:650;letter-spacing:-.02em}
.tile>span{color:var(--dim);font-size:12.5px}
section{margin-bottom:16px;overflow:hidden}
.head{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 12px;padding:13px 16px 11px}
.head .dim{overflow-wrap:anywhere}
table{width:100%;border-collapse:collapse;table-layout:fixed}
th{width:7%}th:nth-child(4),th:nth-child(5),th:nth-child(6){width:8.5%}th:first-child{width:17%}
th:nth-child(2){width:9%}th:last-child{width:auto}
th{font-size:11.5px;font-weight:600;color:var(--dim);text-align:left;padding:5px 6px;white-space:nowrap;
border-bottom:1px solid var(--line)}
td{padding:8px 6px;font-size:14px;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
th:first-child,td:first-child{padding-left:16px}th:last-child,td:last-child{padding-right:16px}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.n small{white-space:normal}.wide,th:last-child{padding-left:14px}
.name{font-weight:600;overflow-wrap:anywhere}
.name small{font-weight:400}
.pill{display:inline-block;border-radius:99px;padding:1px 9px;font-size:12.5px;font-weight:600;
white-space:nowrap;background:var(--calm-bg);color:var(--calm)}
.good{background:var(--good-bg);color:var(--good)}
.warn{background:var(--warn-bg);color:var(--warn)}
.bad{background:var(--bad-bg);color:var(--bad)}
.alert{color:var(--bad);font-weight:600}
.share{display:block;height:4px;border-radius:2px;background:var(--bar);margin-top:5px;min-width:44px}
.share i{display:block;height:100%;border-radius:2px;background:var(--accent)}
.workers{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:8px 24px;
padding:2px 16px 14px}
.workers small{flex-basis:100%}
.workers div{display:flex;flex-wrap:wrap;justify-content:space-between;gap:8px;border-top:1px solid var(--line);
padding-top:7px;font-variant-numeric:tabular-nums}
code{font:12.5px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:var(--bad);
overflow-wrap:anywhere;display:block}
footer{color:var(--dim);font-size:13px;display:flex;flex-wrap:wrap;gap:4px 16px}
#lost{display:none;position:sticky;top:0;z-index:1;padding:8px 16px;text-align:center;font-weight:600}
#lost.on{display:block}
@media(max-width:1000px){
main{padding:14px 12px 28px}.about{margin-left:0;width:100%}
.tiles{grid-template-columns:repeat(2,1fr);gap:8px}.tile{padding:9px 12px}.tile b{font-size:19px}
table,tbody{display:block}thead{display:none}
tr{display:grid;grid-template-columns:repeat(4,minmax(0,1fr));gap:9px 10px;padding:12px 16px;
border-top:1px solid var(--line)}
td,td:first-child,td:last-child{display:block;padding:0;border:0;min-width:0}
td:before{content:attr(data-l);display:block;font-size:11px;color:var(--dim);line-height:1.35}
.n{text-align:left}
.name{grid-column:1/4}.name:before,.state:before{content:none}
.state{text-align:right}.wide{grid-column:1/-1}td:empty{display:none}}
]==]

-- Every two seconds the page fetches itself and takes over what changed, so selection and scroll
-- position stay. Rates are differences of two fetches by the server's own clock. A hidden page
-- does not fetch.
assets.script = [==[
(function(){
"use strict";
var every=2000,before={},clock=0,lost=document.getElementById("lost");
function three(x){return x>=100?x.toFixed(0):x>=10?x.toFixed(1):x.toFixed(2)}
function scale(x,step,units){var i=0;while(x>=step-.5&&i<units.length-1){x/=step;i++}
return[x,units[i]]}
function show(x,bytes){
if(x===0)return bytes?"0 B/s":"0/s";
if(bytes){if(x<1000)return x.toFixed(0)+" B/s";
var b=scale(x,1024,["B","KiB","MiB","GiB","TiB"]);return three(b[0])+" "+b[1]+"/s"}
if(x<1000)return(x<10?x.toFixed(1):x.toFixed(0))+"/s";
var c=scale(x,1000,[""," k"," M"," G"]);return three(c[0])+c[1]+"/s"}
function rates(root){
var now=+root.getAttribute("data-now"),seconds=(now-clock)/1000,next={};
root.querySelectorAll("[data-rate]").forEach(function(e){
var key=e.getAttribute("data-rate"),n=+e.getAttribute("data-n"),last=before[key];
next[key]=n;
if(last!==undefined&&n>=last&&seconds>0)
e.textContent=show((n-last)/seconds,e.hasAttribute("data-bytes"))});
if(seconds>0||clock===0||seconds<-5){before=next;clock=now}}
function attributes(a,b){var i,x;
for(i=a.attributes.length-1;i>=0;i--){x=a.attributes[i].name;if(!b.hasAttribute(x))a.removeAttribute(x)}
for(i=0;i<b.attributes.length;i++){x=b.attributes[i];
if(a.getAttribute(x.name)!==x.value){
if(x.name==="style")a.style.cssText=x.value;else a.setAttribute(x.name,x.value)}}}
function morph(a,b){
if(a.nodeType!==b.nodeType||a.nodeName!==b.nodeName){a.replaceWith(b.cloneNode(true));return}
if(a.nodeType!==1){if(a.data!==b.data)a.data=b.data;return}
attributes(a,b);
var x=Array.from(a.childNodes),y=Array.from(b.childNodes),i;
for(i=0;i<y.length;i++){if(i<x.length)morph(x[i],y[i]);else a.appendChild(y[i].cloneNode(true))}
for(;i<x.length;i++)a.removeChild(x[i])}
function turn(){
if(document.hidden){setTimeout(turn,every);return}
var stop=new AbortController(),limit=setTimeout(function(){stop.abort()},5000);
fetch(location.pathname,{cache:"no-store",signal:stop.signal}).then(function(answer){
if(!answer.ok)throw new Error(answer.status);
return answer.text()}).then(function(text){
var page=new DOMParser().parseFromString(text,"text/html"),fresh=page.querySelector("main");
if(!fresh)throw new Error("no page");
rates(fresh);morph(document.querySelector("main"),fresh);document.title=page.title;
lost.className="bad"}).catch(function(){lost.className="bad on"}).then(function(){
clearTimeout(limit);setTimeout(turn,every)})}
rates(document.querySelector("main"));
setTimeout(turn,1000)})();
]==]

return assets
