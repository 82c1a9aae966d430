module cpu(input clk, input rst, input [15:0] op, output reg [15:0] out);
  reg [15:0] r [0:7];
  reg [7:0] pc;
  wire [15:0] a = r[op[11:9]], b = r[op[8:6]];
  reg [15:0] y;
  always @* case (op[15:12])
    0: y = a + b; 1: y = a - b; 2: y = a & b; 3: y = a | b; 4: y = a ^ b;
    5: y = a << b[3:0]; 6: y = a >> b[3:0]; 7: y = a * b; 8: y = {15'b0, a < b};
    default: y = {8'b0, pc};
  endcase
  integer i;
  always @(posedge clk) if (rst) begin pc <= 0; out <= 0; for (i = 0; i < 8; i = i + 1) r[i] <= 0; end
    else begin pc <= op[15:12] == 9 ? a[7:0] : pc + 1; r[op[5:3]] <= y; out <= y; end
endmodule
