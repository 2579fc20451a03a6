for(const head of document.querySelectorAll("th button"))head.addEventListener("click",()=>{
const cell=head.parentElement,table=cell.closest("table"),body=table.tBodies[0];
const at=cell.cellIndex,up=cell.getAttribute("aria-sort")!=="ascending";
for(const other of table.querySelectorAll("th"))other.removeAttribute("aria-sort");
cell.setAttribute("aria-sort",up?"ascending":"descending");
const key=row=>row.cells[at].dataset.key??row.cells[at].textContent;
const rows=[...body.rows].sort((a,b)=>{const x=key(a),y=key(b),n=Number(x)-Number(y);
return (Number.isNaN(n)?x.localeCompare(y):n)*(up?1:-1)});body.append(...rows)});
